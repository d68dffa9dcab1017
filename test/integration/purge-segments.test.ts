//! Rolling: by age, by size, by many at once, beside publishers and under open transactions.

import { describe, expect, test } from "bun:test";

import postgres from "postgres";

import { hasCode, PgstreamError } from "../../src/core/errors.ts";
import { dayMs, openBench, openTransaction } from "../support/purging.ts";

const second = 2n ** 32n;
const third = 2n ** 33n;
const never = { ageMsMax: 36_500 * dayMs, bytesMax: 2 ** 40 };

const attached = async (sql: postgres.Sql): Promise<readonly number[]> =>
  (await sql<{ segment: number }[]>`select segment from pgstream.segments order by segment`).map(
    (it) => it.segment,
  );

describe("the log moves on to the next segment", () => {
  test("when the current one is old, and not before; the one after is attached at once", async () => {
    await using log = await openBench();
    await log.publish("courses");
    await log.pass("23 hours");
    expect(await log.round({ ageMsMax: dayMs })).toMatchObject({ segmentsRolled: 0 });
    await log.pass("2 hours");
    expect(await log.round({ ageMsMax: dayMs })).toMatchObject({ segmentsRolled: 1, failures: [] });
    expect(await attached(log.sql)).toEqual([0, 1, 2, 32768]);
    expect(await log.publish("courses")).toEqual([second]);
    expect(await log.round({ ageMsMax: dayMs })).toMatchObject({ segmentsRolled: 0 });
  });

  test("when the current one is large", async () => {
    await using log = await openBench();
    await log.publish("courses");
    const bytesMax = 200_000;
    expect(await log.round({ bytesMax })).toMatchObject({ segmentsRolled: 0 });
    await log.sql`select pgstream.publish('courses', to_json(repeat('x', 1000))) from generate_series(1, 300)`;
    expect(await log.round({ bytesMax })).toMatchObject({ segmentsRolled: 1, failures: [] });
    expect(await log.publish("courses")).toEqual([second]);
  });

  test("but not while the current one is empty, or the next is not there, or not settled", async () => {
    await using log = await openBench();
    await log.purging.prepareSegments();
    const always = { ageMsMax: 0, bytesMax: 0 };
    expect(await log.purging.rollSegment(always)).toBe(false);
    await log.publish("courses");
    expect(await log.purging.rollSegment(always)).toBe(true);
    await log.publish("courses");
    expect(await log.purging.rollSegment(always)).toBe(false);
    expect(await log.purging.prepareSegments()).toBe(1);
    expect(await log.purging.rollSegment(always)).toBe(false);
    expect(await log.purging.prepareSegments()).toBe(0);
    expect(await log.purging.rollSegment(always)).toBe(true);
    expect(await log.publish("courses")).toEqual([third]);
  });

  test("though the roll is taken back: the segment is in use from then on, and the next round says so", async () => {
    await using log = await openBench();
    await log.publish("courses");
    const roller = await openTransaction(log.url);
    await roller.sql`select pgstream.roll_segment('0 s', 0)`;
    await roller.end("rollback");
    expect(await log.publish("courses")).toEqual([second]);
    const isOpened = async (): Promise<unknown> =>
      (
        await log.sql`select opened_at is not null as is_opened from pgstream.segments where segment = 1`
      )[0]?.["is_opened"];
    expect(await isOpened()).toBe(false);
    expect(await log.round()).toMatchObject({ failures: [] });
    expect(await isOpened()).toBe(true);
  });

  test("by itself near the end of its ids, where rolling could hand some out again", async () => {
    await using log = await openBench();
    await log.sql`select setval('pgstream.event_ids', ${String(second - 1_000n)}::bigint)`;
    expect(await log.purging.rollSegment({ ageMsMax: 0, bytesMax: 0 })).toBe(false);
    expect(await log.publish("courses")).toEqual([second - 999n]);
  });
});

test("an open transaction publishes again after a roll, and in the segment that is current then", async () => {
  await using log = await openBench();
  await log.publish("courses");
  const open = await openTransaction(log.url);
  await open.sql`select pgstream.publish('courses', '{}')`;
  await log.roll();
  await log.publish("courses");
  await log.roll();
  await open.sql`select pgstream.publish('courses', '{}')`;
  await open.end("commit");
  expect(await log.ids()).toEqual([1n, 2n, second, third]);
});

test("many rollers beside many publishers: no id is handed out twice, none is smaller than an earlier one, no publish is refused", async () => {
  await using log = await openBench();
  await using connections = new AsyncDisposableStack();
  const connect = (): postgres.Sql =>
    connections.adopt(
      postgres(log.url, { max: 1, fetch_types: false, onnotice: () => {} }),
      async (it) => await it.end({ timeout: 1 }),
    );
  await log.publish("courses");
  const over = new AbortController();
  let rolls = 0;
  const roller = async (): Promise<void> => {
    const sql = connect();
    while (!over.signal.aborted) {
      try {
        await sql`select pgstream.prepare_segments()`;
        const [row] = await sql<{ rolled: boolean }[]>`select pgstream.roll_segment('0 s', 0) as rolled`;
        if (row?.rolled === true) rolls += 1;
      } catch (error) {
        // Another roller had the lock for too long: a purger comes again, too.
        if (!(error instanceof Error && "code" in error && error.code === "55P03")) throw error;
      }
    }
  };
  const publisher = async (): Promise<readonly bigint[]> => {
    const sql = connect();
    const mine: bigint[] = [];
    for (let n = 0; n < 150; n += 1) {
      const [row] = await sql<{ ids: string }[]>`
        select array_to_string(pgstream.publish_batch(${"courses\u{1e}policies"}, ${"1\u{1e}2"}), ',') as ids`;
      mine.push(...(row?.ids ?? "").split(",").map(BigInt));
    }
    return mine;
  };
  const rolling = Promise.all([roller(), roller(), roller(), roller()]);
  const published = await Promise.all([publisher(), publisher(), publisher(), publisher()]);
  over.abort();
  await rolling;

  expect(rolls).toBeGreaterThan(5);
  for (const ids of published) expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
  const all = published.flat();
  expect(new Set(all).size).toBe(4 * 300);
  expect(await log.ids()).toEqual([1n, ...all.sort((a, b) => (a < b ? -1 : 1))]);
});

test("attaching waits for nobody longer than its lock timeout, and says that trying again may help", async () => {
  await using log = await openBench();
  await log.purging.prepareSegments();
  await log.publish("courses");
  await log.purging.rollSegment({ ageMsMax: 0, bytesMax: 0 });
  const open = await openTransaction(log.url);
  await open.sql`lock table pgstream.events in share row exclusive mode`;
  const error: unknown = await log.purging.prepareSegments().catch((it: unknown) => it);
  expect(hasCode(error, "database_error")).toBe(true);
  expect(error).toBeInstanceOf(PgstreamError);
  expect(error).toMatchObject({ retryable: true, details: { sqlstate: "55P03" } });
  await open.end("rollback");
  expect(await log.round(never)).toMatchObject({ segmentsAttached: 1, failures: [] });
});
