//! A program: waits until its input closes, which is when the test process that started it ends, however it does, and then
//! drops that run's databases. bun test has no hook for the end of a process, and a killed one could not run it anyway.

import { dropRunDatabases } from "./run-databases.ts";
import { dropRunMongoDatabases } from "./run-mongo-databases.ts";

for await (const _ of Bun.stdin.stream()) {
  // nothing is ever said; only the end counts
}
const runId = process.env["PGSTREAM_JANITOR_RUN"] ?? "";
const postgresUrl = process.env["PGSTREAM_JANITOR_POSTGRES_URL"];
const mongoUrl = process.env["PGSTREAM_JANITOR_MONGO_URL"];
if (runId === "") throw new Error("PGSTREAM_JANITOR_RUN is not set");
if (postgresUrl !== undefined) await dropRunDatabases(postgresUrl, runId);
if (mongoUrl !== undefined) await dropRunMongoDatabases(mongoUrl, runId);
