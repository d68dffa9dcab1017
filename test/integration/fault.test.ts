//! The promises *lossless*, *ordered*, *at least once* and *never stalled*, under everything that applications do to a
//! log at once. Whoever changes a rule of the reader, of publish() or of ticks is judged here.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import type { Verdict } from "../support/fault/history.ts";
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

/** The first of a kind has the settings that are shipped. */
const named = (kind: string, others: string, verdicts: readonly Verdict[]): Record<string, Verdict> =>
  Object.fromEntries(verdicts.map((it, n) => [`${kind}, ${n === 0 ? "as shipped" : `${others} ${n}`}`, it]));

const report = (title: string, result: FaultResult): void => {
  const { history, audit, stored } = result;
  const kinds = [...history.happened].map(([kind, n]) => `${kind} ${n}`).toSorted();
  console.log(`${title}: ${stored} events; ${kinds.join(", ")}`);
  console.log(`the library's publishers: ${JSON.stringify(audit)}`);
  console.table({
    ...named("windows", "stopped often", result.readers),
    ...named("shared tail", "small", result.together),
    ...named("subscription", "small", result.subscriptions),
    "id > last": result.naive ?? {},
    "by xid": result.byXid ?? {},
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
      fastPaths: true,
      compare: true,
    });
    report(`PostgreSQL ${version}`, result);

    const { history, readers, together, subscriptions, audit, stored } = result;
    expect(history.refused).toEqual([]);
    expect(stored).toBe(history.committed.size);
    expect(together).toHaveLength(4);
    expect(subscriptions).toHaveLength(3);
    // Whatever was repeated, each event is there once, with the others of its call, under the id that was answered.
    expect(audit).toMatchObject({ twice: 0, unanswered: 0, torn: 0 });
    expect(audit.shared).toBeGreaterThan(0);
    // More than the first lanes of the two publishers and of the two that publish last.
    expect(audit.lanes).toBeGreaterThan(4);
    for (const verdict of [...readers, ...together, ...subscriptions]) {
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
      "published event",
      "published list",
      "batch repeated",
      "answer lost",
      "fault publisher killed",
      "subscription restarted",
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
                fastPaths: false,
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
