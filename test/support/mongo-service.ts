//! The Mongo server of a run: the one that was given, else compose's, else a real mongod in memory, else FerretDB, else
//! none. A step that cannot be taken says why and the next is tried.

import { join } from "node:path";

import { messageOf } from "../../src/core/errors.ts";
import { composeService } from "./compose.ts";
import { ferretDbProgram } from "./ferretdb.ts";
import type { SharedService } from "./run-context.ts";
import { startUrlProgram } from "./url-program.ts";

export interface MongoService extends SharedService {
  /** Whether it goes on when the run ends, so that our databases must be dropped. */
  readonly outlivesRun: boolean;
  readonly close: () => Promise<void>;
}

// Long enough to download mongod; where there is no network it fails much earlier.
const memoryServerDeadlineMs = 180_000;
const ferretDbDeadlineMs = 30_000;

interface Step {
  readonly name: string;
  /** Throws its reason. */
  readonly open: (say: (line: string) => void) => Promise<MongoService>;
}

const viaCompose: Step = {
  name: "compose",
  open: async () => {
    const result = await composeService("webconsumerdb", 27_017);
    if ("reason" in result) throw new Error(result.reason);
    const user = encodeURIComponent(process.env["MONGO_USER"] ?? "mongo");
    const password = encodeURIComponent(process.env["MONGO_PASSWORD"] ?? "password");
    const url = `mongodb://${user}:${password}@${result.hostPort}/?authSource=admin`;
    return { url, source: "compose service webconsumerdb", outlivesRun: true, close: result.close };
  },
};

const viaMemoryServer: Step = {
  name: "mongodb-memory-server",
  open: async () => {
    const command = [process.execPath, join(import.meta.dir, "mongo-memory.ts")];
    const program = await startUrlProgram(command, {
      deadlineMs: memoryServerDeadlineMs,
      env: { MONGOMS_MAX_RETRIES: "1" },
    });
    return { ...program, source: `mongod of mongodb-memory-server at ${program.url}`, outlivesRun: false };
  },
};

const viaFerretDb: Step = {
  name: "FerretDB",
  open: async (say) => {
    const program = await startUrlProgram([await ferretDbProgram(say)], { deadlineMs: ferretDbDeadlineMs });
    return { ...program, source: `FerretDB at ${program.url}`, outlivesRun: false };
  },
};

/**
 * Null with a reason when none can be had.
 *
 * @param say where the reasons and the choice are told, one line each
 */
export const openMongoService = async (
  say: (line: string) => void,
): Promise<{ readonly service: MongoService } | { readonly service: null; readonly reason: string }> => {
  const given = process.env["PGSTREAM_TEST_MONGO_URL"];
  if (given !== undefined && given !== "") {
    say("mongo: using PGSTREAM_TEST_MONGO_URL");
    return {
      service: { url: given, source: "PGSTREAM_TEST_MONGO_URL", outlivesRun: true, close: async () => {} },
    };
  }
  const reasons: string[] = [];
  for (const step of [viaCompose, viaMemoryServer, viaFerretDb]) {
    try {
      const service = await step.open(say);
      say(`mongo: using ${service.source}`);
      return { service };
    } catch (error) {
      reasons.push(`not by ${step.name}: ${messageOf(error)}`);
      say(`mongo: ${reasons.at(-1)}`);
    }
  }
  say("mongo: none, so the tests that need it cannot run");
  return { service: null, reason: reasons.join("; ") };
};
