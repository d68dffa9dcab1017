//! From an earlier epoch into the newest, over a model of the log: what was left of it is handed over once, and nothing else.

import { describe, expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import { type Cursor, isCrossing } from "../../../src/core/cursor.ts";
import type { TopicGap } from "../../../src/core/gap.ts";
import { makeCrossing } from "../../../src/core/read/crossing.ts";
import { makeReader } from "../../../src/core/read/reader.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { makeRandom, type Random, seededRandom } from "../../support/seed.ts";
import { epochIds, type FakeLog, type FakeTransaction, makeFakeLog } from "./fake-log.ts";
import { makeSubscription } from "./fake-subscription.ts";
import { outcomeOf, settle } from "./fakes.ts";

const filter = parseTopicPatterns(["a", "b"]);
const firstIds = { second: 1_000n, third: 2_000n };

const limitsOf = (random: Random) => ({
  filter,
  batchEventsMax: random.integer(1, 4),
  pageEventsMax: random.integer(1, 8),
  pageBytesMax: random.integer(1, 30),
});

/** Reads batches until there are none, or `isEnough` says so. Answers where it stands. */
const readOn = async (
  next: () => Promise<{
    readonly events: readonly { readonly id: bigint }[];
    readonly cursor: Cursor;
  } | null>,
  from: Cursor,
  into: bigint[],
  isEnough: () => boolean,
): Promise<{ readonly cursor: Cursor; readonly isThrough: boolean }> => {
  let cursor = from;
  while (!isEnough()) {
    const batch = await next();
    if (batch === null) return { cursor, isThrough: true };
    into.push(...batch.events.map(({ id }) => id));
    cursor = decodeCursor(encodeCursor(batch.cursor));
  }
  return { cursor, isThrough: false };
};

const noGap = (gap: readonly TopicGap[]): void => {
  throw new Error(`unexpected gap: ${Bun.inspect(gap)}`);
};

interface Written {
  /** When its first publish call began, and when it committed. */
  readonly startedAt: number;
  readonly committedAt: number;
}

interface Life {
  readonly steps: number;
  readonly read: () => Promise<void>;
  /** What was committed, by id. */
  readonly written: Map<bigint, Written>;
}

/** Transactions that overlap, some of which never end; ticks; and a reader that reads now and then. */
const liveThrough = async (
  database: FakeLog,
  random: Random,
  { steps, read, written }: Life,
): Promise<void> => {
  const open: { transaction: FakeTransaction; ids: bigint[]; startedAt: number }[] = [];
  const begunAt = written.size * 1_000;
  for (let now = begunAt; now < begunAt + steps; now += 1) {
    const what = random.random();
    const some = open.length === 0 ? undefined : random.pick(open);
    if (what < 0.2) open.push({ transaction: database.begin(), ids: [], startedAt: Infinity });
    else if (what < 0.65 && some !== undefined) {
      some.startedAt = Math.min(some.startedAt, now);
      const topic = random.pick(["a", "b", "unwanted"]);
      some.ids.push(some.transaction.publish(topic, "x".repeat(random.integer(1, 9))));
    } else if (what < 0.86 && some !== undefined) {
      open.splice(open.indexOf(some), 1);
      if (random.chance(0.2)) some.transaction.rollback();
      else {
        some.transaction.commit();
        for (const id of some.ids) written.set(id, { startedAt: some.startedAt, committedAt: now });
      }
    } else if (what < 0.92) database.tick();
    else await read();
  }
  // A failover ends what was running.
  for (const { transaction } of open) transaction.rollback();
};

/** If B's publish began after A had committed, B is not delivered before A. */
const checkOrder = (delivered: readonly bigint[], written: Life["written"]): void => {
  let latestStart = -1;
  for (const id of delivered) {
    const { startedAt, committedAt } = written.get(id) ?? { startedAt: 0, committedAt: -2 };
    if (committedAt < latestStart) throw new Error(`${id} is out of order`);
    latestStart = Math.max(latestStart, startedAt);
  }
};

/** Whoever reads in one epoch, is stopped anywhere, and crosses one or two others, stopped anywhere again. */
const runHistory = async (seed: number): Promise<number> => {
  const random = seededRandom(seed);
  const database = makeFakeLog();
  database.cutsFirst = () => random.chance(0.1);
  database.ticksAhead = () => random.integer(1, 4);
  database.stepEvents = () => random.integer(1, 12);
  const delivered: bigint[] = [];
  const epoch = database.newestEpoch();
  let cursor = await startCursor(database.log, epoch, { kind: "earliest" });
  const read = async (): Promise<void> => {
    const reader = makeReader(database.log, cursor, { ...limitsOf(random), epoch, onGap: noGap });
    const until = random.integer(1, 3);
    let batches = 0;
    const reached = await readOn(reader.next.bind(reader), cursor, delivered, () => (batches += 1) > until);
    ({ cursor } = reached);
  };
  const written: Life["written"] = new Map();
  const nobody = async (): Promise<void> => await Promise.resolve();
  await liveThrough(database, random, { steps: 120, read, written });
  const before = delivered.length;
  database.openEpoch(epochIds.second, firstIds.second);
  await liveThrough(database, random, { steps: 30, read: nobody, written });
  if (random.chance(0.5)) {
    database.openEpoch(epochIds.third, firstIds.third);
    await liveThrough(database, random, { steps: 30, read: nobody, written });
  }
  for (let isThrough = false; !isThrough;) {
    const path = await database.log.epochsSince(cursor.epoch);
    const crossing = makeCrossing(database.log, cursor, path, { ...limitsOf(random), onGap: noGap });
    const reached = await readOn(crossing.next.bind(crossing), cursor, delivered, () => random.chance(0.2));
    ({ isThrough } = reached);
    cursor = isThrough ? crossing.cursor() : reached.cursor;
  }
  if (cursor.epoch !== database.newestEpoch().id) throw new Error("it is not in the newest epoch");
  const crossed = delivered.length - before;
  const last = makeReader(database.log, cursor, {
    ...limitsOf(random),
    epoch: database.newestEpoch(),
    onGap: noGap,
  });
  await readOn(last.next.bind(last), cursor, delivered, () => false);
  checkOrder(delivered, written);
  const wanted = database.rows.filter(({ topic }) => topic !== "unwanted").map(({ id }) => id);
  const lost = wanted.filter((id) => !delivered.includes(id));
  if (lost.length > 0) throw new Error(`lost ${lost.join(", ")}`);
  if (delivered.length !== wanted.length) throw new Error("delivered twice");
  return crossed;
};

test("in 300 random histories nothing is lost, repeated or out of order, wherever it stopped before and on its way", async () => {
  const { integer } = makeRandom("crossings");
  let events = 0;
  for (let n = 0; n < 300; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      events += await runHistory(seed);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  expect(events).toBeGreaterThan(1_000);
});

describe("a subscription that crosses", () => {
  const crossing = (onPurged: "stop" | "skip" = "stop") => {
    const it = makeSubscription({ onEpochChange: "cross", onPurged });
    for (let n = 0; n < 5; n += 1) it.database.publish("a");
    return it;
  };
  const fail = ({ database }: ReturnType<typeof makeSubscription>): void => {
    database.openEpoch(epochIds.second, firstIds.second);
    for (let n = 0; n < 3; n += 1) database.publish("a");
  };

  test("gets what was left of the earlier epoch, then the new one, and lives on in it", async () => {
    const it = crossing();
    const running = it.run();
    await settle(500);
    for (let n = 0; n < 4; n += 1) it.database.publish("a");
    fail(it);
    it.raise();
    await it.clock.pass(10_000);
    expect(it.handled).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 1_000n, 1_001n, 1_002n]);
    it.database.publish("a");
    await it.clock.pass(2_000);
    expect(it.handled.at(-1)).toBe(1_003n);
    it.stop.abort();
    await running;
  });

  test("from earliest, begins with the first epoch that the log holds", async () => {
    const it = crossing();
    fail(it);
    const running = it.run();
    await settle(800);
    expect(it.handled).toEqual([1n, 2n, 3n, 4n, 5n, 1_000n, 1_001n, 1_002n]);
    it.stop.abort();
    await running;
  });

  test("is told what retention removed of the earlier epoch, in front of the gap", async () => {
    for (const onPurged of ["stop", "skip"] as const) {
      const it = crossing(onPurged);
      it.store.cursor = encodeCursor(
        await startCursor(it.database.log, it.database.newestEpoch(), { kind: "earliest" }),
      );
      fail(it);
      it.database.purge("a", 3n);
      const outcome = outcomeOf(it.run());
      await settle(800);
      if (onPurged === "stop") {
        expect(await outcome).toBe("events_purged");
        expect(it.handled).toEqual([]);
        continue;
      }
      expect(it.gaps).toEqual([{ topic: "a", events: 3, exact: true }]);
      expect(it.handled).toEqual([4n, 5n, 1_000n, 1_001n, 1_002n]);
      it.stop.abort();
      await outcome;
    }
  });

  test("waits where the new server has not opened its epoch yet", async () => {
    const it = crossing();
    it.store.cursor = encodeCursor(
      await startCursor(it.database.log, it.database.newestEpoch(), { kind: "earliest" }),
    );
    it.database.isRunning = false;
    const running = it.run();
    await it.clock.pass(5_000);
    expect(it.handled).toEqual([]);
    fail(it);
    await it.clock.pass(10_000);
    expect(it.handled).toEqual([1n, 2n, 3n, 4n, 5n, 1_000n, 1_001n, 1_002n]);
    it.stop.abort();
    await running;
  });

  test("does not cross out of a log that it never was in", async () => {
    const it = crossing();
    it.store.cursor = encodeCursor({
      ...(await startCursor(it.database.log, it.database.newestEpoch(), { kind: "earliest" })),
      epoch: epochIds.foreign,
    });
    expect(await outcomeOf(it.run())).toBe("unknown_epoch");
  });

  test("and finds itself before a server that is still in the epoch it was leaving reads nothing there", async () => {
    const it = crossing();
    const { next } = await crossingOf(it);
    const batch = await next();
    if (batch === null) throw new Error("there was nothing to cross");
    expect(isCrossing(batch.cursor)).toBeTrue();
    it.database.epochs.pop();
    it.store.cursor = encodeCursor(batch.cursor);
    expect(await outcomeOf(it.run())).toBe("database_went_back");
    expect(it.handled).toEqual([]);
  });

  const crossingOf = async ({ database }: ReturnType<typeof makeSubscription>, log = database.log) => {
    const start = await startCursor(database.log, database.newestEpoch(), { kind: "earliest" });
    database.openEpoch(epochIds.second, firstIds.second);
    const path = await database.log.epochsSince(start.epoch);
    const gaps: TopicGap[] = [];
    const onGap = (gap: readonly TopicGap[]): void => void gaps.push(...gap);
    const made = makeCrossing(log, start, path, {
      filter,
      pageEventsMax: 4,
      pageBytesMax: 1_000,
      batchEventsMax: 4,
      onGap,
    });
    return { next: made.next.bind(made), cursor: made.cursor.bind(made), gaps };
  };

  test("hands over no page of another server: a standby that lags behind has less, and says nothing", async () => {
    const it = crossing();
    const { next } = await crossingOf(it);
    expect((await next())?.events.map(({ id }) => id)).toEqual([1n, 2n, 3n, 4n]);
    it.database.isRunning = false;
    expect(await outcomeOf(next())).toBe("epoch_changed");
  });

  test("passes what it does not want in steps, and says how far it has come", async () => {
    const it = makeSubscription();
    for (let n = 0; n < 30; n += 1) it.database.publish(n === 25 ? "a" : "unwanted");
    it.database.stepEvents = () => 10;
    const { next, cursor } = await crossingOf(it);
    const places: (bigint | undefined)[] = [];
    const ids: bigint[] = [];
    for (let batch = await next(); batch !== null; batch = await next()) {
      places.push(batch.cursor.window?.after);
      ids.push(...batch.events.map(({ id }) => id));
    }
    expect(ids).toEqual([26n]);
    expect(places).toEqual([10n, 20n, 26n, 30n]);
    expect(cursor().epoch).toBe(epochIds.second);
  });

  test("is told of what went between a page and its announcement, and gets none of it", async () => {
    const it = crossing();
    const read = Promise.withResolvers<void>();
    const { log } = it.database;
    const { next, gaps } = await crossingOf(it, {
      ...log,
      nextPage: async (...request) => {
        const page = await log.nextPage(...request);
        if (it.database.purges.length === 0) it.database.purge("a", 3n);
        read.resolve();
        return page;
      },
      purgedTopics: async (...request) => {
        await read.promise;
        return await log.purgedTopics(...request);
      },
    });
    expect((await next())?.events.map(({ id }) => id)).toEqual([4n, 5n]);
    expect(gaps).toEqual([{ topic: "a", events: 3, exact: true }]);
  });

  test("is told of what went of the new epoch, though more of the earlier one went later", async () => {
    const it = crossing("skip");
    it.store.cursor = encodeCursor(
      await startCursor(it.database.log, it.database.newestEpoch(), { kind: "earliest" }),
    );
    fail(it);
    for (let n = 0; n < 2; n += 1) it.database.publish("b");
    const old = it.database.rows.splice(0, 5);
    it.database.purge("a", 1_001n);
    it.database.rows.unshift(...old);
    it.database.purge("a", 2n);
    const running = it.run();
    await settle(1_500);
    expect(it.handled).toEqual([3n, 4n, 5n, 1_002n, 1_003n, 1_004n]);
    expect(it.gaps).toMatchObject([
      { topic: "a", events: 2 },
      { topic: "a", events: 2 },
    ]);
    it.stop.abort();
    await running;
  });

  test("is told of what went of each epoch on its way, whatever purges were numbered where it comes from", async () => {
    const it = crossing("skip");
    it.store.cursor = encodeCursor({
      ...(await startCursor(it.database.log, it.database.newestEpoch(), { kind: "earliest" })),
      purge: 9n,
    });
    fail(it);
    it.database.openEpoch(epochIds.third, firstIds.third);
    const old = it.database.rows.splice(0, 5);
    it.database.purge("a", 1_001n);
    it.database.rows.unshift(...old);
    it.database.purge("a", 2n);
    const running = it.run();
    await settle(1_500);
    expect(it.handled).toEqual([3n, 4n, 5n, 1_002n]);
    expect(it.gaps).toMatchObject([
      { topic: "a", events: 2 },
      { topic: "a", events: 2 },
    ]);
    it.stop.abort();
    await running;
  });

  test("from an id of an earlier epoch, begins there", async () => {
    const it = makeSubscription({ onEpochChange: "cross", from: { kind: "id", id: 4n } });
    for (let n = 0; n < 5; n += 1) it.database.publish("a");
    fail(it);
    const running = it.run();
    await settle(800);
    expect(it.handled).toEqual([4n, 5n, 1_000n, 1_001n, 1_002n]);
    it.stop.abort();
    await running;
  });
});
