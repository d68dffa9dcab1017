//! The promises *lossless*, *ordered*, *at least once* and *never stalled*, under everything that applications do to a
//! log at once. Whoever changes a rule of the reader, of publish() or of ticks is judged here.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { planted } from "../support/fault/planted.ts";
import { type FaultResult, type FaultRun, runFaults } from "../support/fault/run.ts";
import { migrate } from "../support/log-database.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { makeRandom } from "../support/seed.ts";

const durationMs = Number(process.env["PGSTREAM_FAULT_SECONDS"] ?? 8) * 1_000;

const freshLog = async (
  server: PostgresServer,
  name: string,
): Promise<Pick<FaultRun, "url" | "foreignUrl">> => {
  const sql = postgres(server.url(), { max: 1, onnotice: () => {} });
  await sql.unsafe(`drop database if exists ${name} with (force)`);
  await sql.unsafe(`create database ${name}`);
  await sql.end();
  await migrate(server.url(name));
  return { url: server.url(name), foreignUrl: server.url() };
};

const report = (title: string, { history, readers, together, naive, byXid, stored }: FaultResult): void => {
  const kinds = [...history.happened].map(([kind, n]) => `${kind} ${n}`).toSorted();
  console.log(`${title}: ${stored} events; ${kinds.join(", ")}`);
  console.table({
    ...Object.fromEntries(
      readers.map((it, n) => [n === 0 ? "windows, as shipped" : `windows, stopped often ${n}`, it]),
    ),
    ...Object.fromEntries(
      together.map((it, n) => [n === 0 ? "shared tail, as shipped" : `shared tail, small ${n}`, it]),
    ),
    "id > last": naive ?? {},
    "by xid": byXid ?? {},
  });
};

describeOnPostgres([15, 18], "readers under fire", (version) => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startOwnServer({ version });
  }, 60_000);
  afterAll(async () => {
    await server.close();
  });

  test("lose nothing, repeat nothing, keep the order, and publish is never refused", async () => {
    const { random } = makeRandom("fault");
    const log = await freshLog(server, "fault");
    const result = await runFaults({
      ...log,
      random,
      durationMs,
      writers: 20,
      readers: 3,
      together: true,
      compare: true,
    });
    report(`PostgreSQL ${version}`, result);

    const { history, readers, together, stored } = result;
    expect(history.refused).toEqual([]);
    expect(stored).toBe(history.committed.size);
    expect(together).toHaveLength(4);
    for (const verdict of [...readers, ...together]) {
      expect(verdict).toMatchObject({ lost: 0, repeated: 0, unordered: 0, unknown: 0 });
    }
    // The run was hard enough to break those who do it otherwise.
    expect(result.naive?.lost).toBeGreaterThan(0);
    expect(result.byXid?.unordered).toBeGreaterThan(0);
    for (const what of [
      "roll",
      "tick",
      "ticks pruned",
      "stopped inside a window",
      "batch of the tail",
      "follower restarted",
      "foreign transaction",
      "prepared",
      "several",
      "nested",
    ]) {
      expect(history.happened.get(what) ?? 0, what).toBeGreaterThan(0);
    }
  }, 120_000);

  if (version === 18) {
    describe("are shown to be wrong by", () => {
      for (const [bug, plant] of Object.entries(planted)) {
        test(
          bug,
          async () => {
            const { random } = makeRandom(bug);
            let caught = false;
            for (let runs = 0; runs < 8 && !caught; runs += 1) {
              const log = await freshLog(server, "planted");
              const result = await runFaults({
                ...log,
                random,
                durationMs: 2_500,
                writers: 20,
                readers: 2,
                together: false,
                compare: false,
                ...plant,
              });
              caught = result.readers.some(
                ({ lost, repeated, unordered }) => lost + repeated + unordered > 0,
              );
            }
            expect(caught).toBe(true);
          },
          120_000,
        );
      }
    });
  }
});
