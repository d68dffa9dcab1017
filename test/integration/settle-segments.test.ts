//! A new segment is used only when nobody is left who may have looked without it.

import { describe, expect, test } from "bun:test";

import postgres from "postgres";

import { type Bench, openBench, openTransaction } from "../support/purging.ts";
import { makeRandom, type Random } from "../support/seed.ts";

const always = { ageMsMax: 0, bytesMax: 0 };

/** Segments that are attached and not settled. */
const unsettled = async ({ sql }: Bench): Promise<number> => {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count from pgstream.segments where settled_at is null`;
  return row?.count ?? 0;
};

/** A topic made by a transaction that is still open makes everybody else who publishes on it wait. */
const openLog = async (): Promise<Bench> => {
  const log = await openBench();
  await log.publish("courses");
  return log;
};

/** The first segment that has to be attached, for the first ones are settled from the beginning. */
const attachSegment = async (log: Bench): Promise<void> => {
  await log.purging.rollSegment(always);
  expect(await log.purging.prepareSegments()).toBe(1);
  expect(await unsettled(log)).toBe(1);
};

describe("a segment that was attached while somebody may have been looking", () => {
  const lookers = {
    "an event": "select pgstream.publish('courses', '{}')",
    "a look at the log": "select count(*) from pgstream.events",
  };

  for (const [what, statement] of Object.entries(lookers)) {
    test(`waits for the transaction of ${what} to end`, async () => {
      await using log = await openLog();
      const open = await openTransaction(log.url);
      await open.sql.unsafe(statement);
      await attachSegment(log);
      await log.publish("courses");

      await log.purging.prepareSegments();
      expect(await unsettled(log)).toBe(1);
      expect(await log.purging.rollSegment(always)).toBe(false);

      await open.end("commit");
      await log.purging.prepareSegments();
      expect(await unsettled(log)).toBe(0);
      expect(await log.purging.rollSegment(always)).toBe(true);
    });
  }

  test("does not wait for longer than a minute: nobody looks for so long", async () => {
    await using log = await openLog();
    const open = await openTransaction(log.url);
    await open.sql`select pgstream.publish('courses', '{}')`;
    await attachSegment(log);
    await log.pass("59 seconds");
    await log.purging.prepareSegments();
    expect(await unsettled(log)).toBe(1);
    await log.pass("2 seconds");
    await log.purging.prepareSegments();
    expect(await unsettled(log)).toBe(0);
    await open.end("rollback");
  });

  test("does not wait for a prepared transaction, which looks no more", async () => {
    await using log = await openLog();
    const prepared = await openTransaction(log.url);
    await prepared.sql`select pgstream.publish('courses', '{}', notify => false)`;
    await prepared.sql`prepare transaction 'settle-segments'`;
    await attachSegment(log);
    await log.purging.prepareSegments();
    expect(await unsettled(log)).toBe(0);
    await prepared.sql`rollback prepared 'settle-segments'`;
    await prepared.sql.end({ timeout: 1 });
  });
});

test("publishers whose connections are new all the time, and a roller that never pauses: none is refused", async () => {
  await using log = await openLog();
  const random = makeRandom("settle-segments");
  const rolls = 250;
  const over = new AbortController();
  let published = 0;

  /** A new connection builds its picture of the partitions first: that is when one can be missed. */
  const publisher = async (own: Random): Promise<void> => {
    while (!over.signal.aborted) {
      const sql = postgres(log.url, { max: 1, fetch_types: false, onnotice: () => {} });
      try {
        for (let left = own.integer(2, 4); left > 0; left -= 1) {
          await sql`select pgstream.publish('courses', '{}')`;
          published += 1;
        }
      } finally {
        await sql.end({ timeout: 1 });
      }
    }
  };
  const roller = async (): Promise<void> => {
    for (let left = rolls; left > 0;) {
      await log.purging.prepareSegments();
      await log.purging.prepareSegments();
      if (await log.purging.rollSegment(always)) left -= 1;
    }
  };

  const publishing = Promise.all(Array.from({ length: 8 }, async () => await publisher(random.fork())));
  await Promise.race([roller(), publishing]);
  over.abort();
  await publishing;
  expect((await log.ids()).length).toBe(published + 1);
}, 120_000);
