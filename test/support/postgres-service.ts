//! The PostgreSQL server of a run: the one that was given, else compose's, else an embedded one. A step that cannot be
//! taken says why and the next is tried.

import { findBinaries } from "../../src/adapters/embedded-postgres/binaries.ts";
import { startServer } from "../../src/adapters/embedded-postgres/server.ts";
import { composeService } from "./compose.ts";
import type { SharedService } from "./run-context.ts";

export interface PostgresService extends SharedService {
  /** Whether it goes on when the run ends, so that our databases must be dropped. */
  readonly outlivesRun: boolean;
  readonly close: () => Promise<void>;
}

/** What several test files want of one server at once. Durability stays as PostgreSQL has it. */
export const sharedServerSettings = { max_connections: 200, max_prepared_transactions: 20 };

const viaCompose = async (say: (line: string) => void): Promise<PostgresService | null> => {
  const result = await composeService("db", 5432);
  if ("reason" in result) {
    say(`postgres: not by compose: ${result.reason}`);
    return null;
  }
  const password = encodeURIComponent(process.env["POSTGRES_PASSWORD"] ?? "password");
  const user = encodeURIComponent(process.env["POSTGRES_USER"] ?? "postgres");
  const url = `postgres://${user}:${password}@${result.hostPort}/postgres`;
  return { url, source: "compose service db", outlivesRun: true, close: result.close };
};

/** @param say where the reasons and the choice are told, one line each */
export const openPostgresService = async (say: (line: string) => void): Promise<PostgresService> => {
  const given = process.env["PGSTREAM_TEST_DATABASE_URL"];
  if (given !== undefined && given !== "") {
    say("postgres: using PGSTREAM_TEST_DATABASE_URL");
    return { url: given, source: "PGSTREAM_TEST_DATABASE_URL", outlivesRun: true, close: async () => {} };
  }
  const composed = await viaCompose(say);
  if (composed !== null) {
    say(`postgres: using ${composed.source}`);
    return composed;
  }
  const binaries = await findBinaries();
  const server = await startServer({ binaries, password: "password", settings: sharedServerSettings });
  const source = `embedded PostgreSQL ${server.version} on port ${server.port}`;
  say(`postgres: using ${source}`);
  return { url: server.url(), source, outlivesRun: false, close: server.close };
};
