//! `bun run test`: the checks, then all tests. Starts PostgreSQL and Mongo once for all of them and stops them at the end,
//! whatever happened; builds the binary first where there is a build. Arguments go to `bun test`, e.g. a file to run or
//! `-t "title"`; with any, the checks and the build are left out. The last line says `N passed, N failed`.

import { existsSync } from "node:fs";
import { join } from "node:path";

import { onStopSignals } from "../src/adapters/runtime/stop-signals.ts";
import { openMongoService } from "../test/support/mongo-service.ts";
import { openPostgresService } from "../test/support/postgres-service.ts";
import { newRunId, type RunContext, runEnvironment } from "../test/support/run-context.ts";
import { dropRunDatabases } from "../test/support/run-databases.ts";
import { dropRunMongoDatabases } from "../test/support/run-mongo-databases.ts";
import { readCounts } from "./test-counts.ts";

const root = join(import.meta.dir, "..");
const testDeadlineMs = 60 * 60_000;
const oneTestDeadlineMs = 60_000;

// A first Ctrl-C or SIGTERM ends what runs now, and the services are still stopped; a second one ends us at once.
const stop = new AbortController();
onStopSignals(process, { stop: () => stop.abort(), exit: (code) => process.exit(code) });

const say = (line: string): void => console.log(line);

const runScript = async (script: string): Promise<boolean> => {
  const child = Bun.spawn([process.execPath, join(root, "scripts", script)], {
    cwd: root,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    signal: stop.signal,
  });
  return (await child.exited) === 0;
};

/** Passes on what the tests print, and returns it too. */
const tee = async (from: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<string> => {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of from) {
    to.write(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
};

const runTests = async (context: RunContext, args: readonly string[]): Promise<boolean> => {
  const child = Bun.spawn([process.execPath, "test", `--timeout=${oneTestDeadlineMs}`, ...args], {
    cwd: root,
    env: {
      ...process.env,
      ...runEnvironment(context),
      ...(process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}),
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: testDeadlineMs,
    signal: stop.signal,
  });
  const [, err, exitCode] = await Promise.all([
    tee(child.stdout, process.stdout),
    tee(child.stderr, process.stderr),
    child.exited,
  ]);
  const { passed, failed, skipped } = readCounts(err);
  // A run that was cut short has failed even when no test of it had yet.
  const failures = exitCode === 0 ? failed : Math.max(failed, 1);
  say(`\n${passed} passed, ${failures} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  return exitCode === 0;
};

const main = async (args: readonly string[]): Promise<boolean> => {
  const runsAll = args.length === 0;
  if (runsAll && !(await runScript("check.ts"))) return false;
  if (runsAll && existsSync(join(root, "scripts", "build.ts")) && !(await runScript("build.ts")))
    return false;
  if (stop.signal.aborted) return false;

  await using services = new AsyncDisposableStack();
  const runId = newRunId();
  const postgres = await openPostgresService(say);
  services.defer(postgres.close);
  if (postgres.outlivesRun) services.defer(async () => void (await dropRunDatabases(postgres.url, runId)));
  const mongo = await openMongoService(say);
  const { service } = mongo;
  if (service !== null) {
    services.defer(service.close);
    if (service.outlivesRun) services.defer(async () => await dropRunMongoDatabases(service.url, runId));
  }
  if (stop.signal.aborted) return false;
  return await runTests(
    {
      runId,
      postgres: { url: postgres.url, source: postgres.source },
      mongo: service === null ? null : { url: service.url, source: service.source },
      ...(service === null ? { mongoReason: mongo.reason } : {}),
    },
    args,
  );
};

const isGreen = await main(process.argv.slice(2));
process.exit(stop.signal.aborted ? 130 : isGreen ? 0 : 1);
