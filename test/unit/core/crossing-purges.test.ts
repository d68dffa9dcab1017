//! What retention removed of the epochs on the way of whoever crosses: told once, whichever server counted it, and never to whoever
//! cannot have missed it.

import { expect, test } from "bun:test";

import { encodeCursor } from "../../../src/core/cursor-codec.ts";
import type { Cursor } from "../../../src/core/cursor.ts";
import type { TopicGap } from "../../../src/core/gap.ts";
import { makeCrossing } from "../../../src/core/read/crossing.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { makeSnapshot } from "../../../src/core/snapshot.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { epochIds, type FakeLog } from "./fake-log.ts";
import { makeSubscription } from "./fake-subscription.ts";
import { settle } from "./fakes.ts";

const firstIds = { second: 1_000n, third: 2_000n };

const publish = (database: FakeLog, count: number): void => {
  for (let n = 0; n < count; n += 1) database.publish("a");
};

const fail = (database: FakeLog): void => {
  database.openEpoch(epochIds.second, firstIds.second);
  publish(database, 2);
};

const start = async ({ log, ...database }: FakeLog, purge = 0n): Promise<Cursor> => ({
  ...(await startCursor(log, database.epochs[0] ?? expect.unreachable(), { kind: "earliest" })),
  purge,
});

/** Runs until nothing is left to do. */
const runThrough = async (it: ReturnType<typeof makeSubscription>): Promise<void> => {
  const running = it.run();
  await settle(2_000);
  it.stop.abort();
  await running;
};

test("a floor that was taken on a server that counts anew hides nothing", async () => {
  const it = makeSubscription({ onEpochChange: "cross", onPurged: "skip" });
  publish(it.database, 5);
  it.store.cursor = encodeCursor(await start(it.database));
  fail(it.database);
  it.database.purge("a", 3n);
  const [purged] = it.database.purges.splice(0);
  if (purged !== undefined) it.database.purges.push({ ...purged, floor: makeSnapshot(50n, []) });
  await runThrough(it);
  expect(it.gaps).toEqual([{ topic: "a", events: 3, exact: true }]);
  expect(it.handled).toEqual([4n, 5n, 1_000n, 1_001n]);
});

test("a floor of the epoch's own tells what was read, though a transaction amid it never ended", async () => {
  const { database, ...it } = makeSubscription();
  publish(database, 1);
  const amid = database.begin();
  publish(database, 1);
  await runThrough({ database, ...it });
  database.purge("a", 2n);
  amid.rollback();
  fail(database);
  const again = makeSubscription({ onEpochChange: "cross" }, {}, database);
  again.store.cursor = it.store.cursor;
  await runThrough(again);
  expect(again.handled).toEqual([1_000n, 1_001n]);
});

test("what it has been told of it is not told of again", async () => {
  const it = makeSubscription({ onEpochChange: "cross" });
  publish(it.database, 5);
  it.database.purge("a", 3n);
  it.store.cursor = encodeCursor(await start(it.database, 1n));
  fail(it.database);
  await runThrough(it);
  expect(it.handled).toEqual([4n, 5n, 1_000n, 1_001n]);
});

test("whoever is new has missed nothing of any epoch that went before it began", async () => {
  for (const from of [{ kind: "id", id: 4n }, { kind: "earliest" }] as const) {
    const it = makeSubscription({ onEpochChange: "cross", from });
    publish(it.database, 5);
    it.database.purge("a", 3n);
    const first = it.database.rows.splice(0);
    fail(it.database);
    it.database.purge("a", 1_000n);
    const second = it.database.rows.splice(0);
    it.database.openEpoch(epochIds.third, firstIds.third);
    publish(it.database, 2);
    it.database.purge("a", 2_000n);
    it.database.rows.unshift(...first, ...second);
    await runThrough(it);
    expect([from.kind, it.handled]).toEqual([from.kind, [4n, 5n, 1_001n, 2_001n]]);
  }
});

test("what goes between a page and the question where the next one ends is told of, and the page read again", async () => {
  const { database } = makeSubscription();
  publish(database, 5);
  const from = await start(database);
  database.openEpoch(epochIds.second, firstIds.second);
  database.stepEvents = () => 3;
  const { log } = database;
  let steps = 0;
  const gaps: TopicGap[] = [];
  const crossing = makeCrossing(
    {
      ...log,
      stepEnd: async (...request) => {
        steps += 1;
        if (steps === 2) database.purge("a", 5n);
        return await log.stepEnd(...request);
      },
    },
    from,
    await log.epochsSince(from.epoch),
    {
      filter: parseTopicPatterns(["a"]),
      pageEventsMax: 4,
      pageBytesMax: 1_000,
      batchEventsMax: 4,
      onGap: (gap) => void gaps.push(...gap),
    },
  );
  const ids: bigint[] = [];
  for (let batch = await crossing.next(); batch !== null; batch = await crossing.next()) {
    ids.push(...batch.events.map(({ id }) => id));
  }
  expect(ids).toEqual([]);
  expect(gaps).toEqual([{ topic: "a", events: 5, exact: true }]);
});
