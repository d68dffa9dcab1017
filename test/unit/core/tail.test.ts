//! The shared tail over a model of the log: subscriptions that join, lag, are put out, stop and go on, while everything
//! else happens between any two calls.

import { describe, expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import type { Cursor } from "../../../src/core/cursor.ts";
import { type Follower, makeFollower } from "../../../src/core/follower.ts";
import { startCursor } from "../../../src/core/start.ts";
import { SharedTail } from "../../../src/core/tail.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { makeWakeupFlag } from "../../../src/core/wakeup-flag.ts";
import { makeRandom, seededRandom } from "../../support/seed.ts";
import { type FakeLog, type FakeTransaction, makeFakeLog } from "./fake-log.ts";
import { makeFakeClock, makeFakeLogger } from "./fakes.ts";

const limits = { pageEventsMax: 5, pageBytesMax: 1_000, lagEventsMax: 8, lagBytesMax: 2_000, pauseMs: 1_000 };

const turn = async (): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  await promise;
};

/** A tail that runs until it is disposed of, and whoever follows it. */
const openTail = (database: FakeLog, options: Partial<typeof limits> = {}) => {
  const clock = makeFakeClock();
  const wakeups = makeWakeupFlag(clock);
  const stop = new AbortController();
  const ports = { log: database.log, live: database.live, wakeups, clock, logger: makeFakeLogger() };
  const tail = new SharedTail(ports, { ...limits, ...options });
  const running = tail.run(stop.signal);
  const follow = (cursor: Cursor, pattern = ">", batchEventsMax = 3): Follower =>
    makeFollower({ log: database.log, tail, onNews: () => {} }, cursor, {
      filter: parseTopicPatterns([pattern]),
      epoch: database.newestEpoch(),
      batchEventsMax,
      pageEventsMax: 5,
      pageBytesMax: 1_000,
      pollIntervalMs: 1_000,
      onGap: (gap) => {
        throw new Error(`unexpected gap: ${Bun.inspect(gap)}`);
      },
    });
  /** Gives a hint, and lets the tail do all it can. */
  const settle = async (): Promise<void> => {
    wakeups.raise();
    for (let n = 0; n < 5; n += 1) await turn();
  };
  return {
    clock,
    wakeups,
    follow,
    settle,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
};

const earliest = async (database: FakeLog): Promise<Cursor> =>
  await startCursor(database.log, database.newestEpoch(), { kind: "earliest" });

const drain = async (follower: Follower): Promise<bigint[]> => {
  const ids: bigint[] = [];
  for (let batch = await follower.next(); batch !== null; batch = await follower.next()) {
    ids.push(...batch.events.map((event) => event.id));
  }
  return ids;
};

interface Written {
  readonly topic: string;
  readonly startedAt: number;
  readonly committedAt: number;
}

/** What one subscription has been given so far; throws on the first thing that is wrong. */
class Audience {
  readonly pattern: string;
  readonly delivered = new Set<bigint>();
  cursor: Cursor;
  follower: Follower | null = null;
  #latestStart = -1;

  constructor(pattern: string, cursor: Cursor) {
    this.pattern = pattern;
    this.cursor = cursor;
  }

  take(id: bigint, written: Written | undefined): void {
    if (written === undefined) throw new Error(`${id} was never committed`);
    if (written.committedAt < this.#latestStart) throw new Error(`${id} is out of order`);
    if (this.delivered.has(id)) throw new Error(`${id} came twice`);
    if (!this.wants(written.topic)) throw new Error(`${id} is not wanted`);
    this.#latestStart = Math.max(this.#latestStart, written.startedAt);
    this.delivered.add(id);
  }

  wants(topic: string): boolean {
    return this.pattern === ">" || this.pattern === topic;
  }
}

/** Transactions that begin, publish, commit and roll back; at any call of the log as well as between the steps. */
const makeWriters = (database: FakeLog, random: ReturnType<typeof seededRandom>) => {
  const open: { transaction: FakeTransaction; topics: Map<bigint, string>; startedAt: number }[] = [];
  const committed = new Map<bigint, Written>();
  let step = 0;
  const write = (): void => {
    step += 1;
    const what = random.random();
    const some = open.length === 0 ? undefined : random.pick(open);
    if (what < 0.25) open.push({ transaction: database.begin(), topics: new Map(), startedAt: Infinity });
    else if (what < 0.6 && some !== undefined) {
      some.startedAt = Math.min(some.startedAt, step);
      const topic = random.pick(["a", "b", `new${random.integer(0, 4)}`]);
      some.topics.set(some.transaction.publish(topic, "x".repeat(random.integer(1, 9))), topic);
    } else if (what < 0.9 && some !== undefined) {
      open.splice(open.indexOf(some), 1);
      if (random.chance(0.2)) some.transaction.rollback();
      else {
        some.transaction.commit();
        for (const [id, topic] of some.topics) {
          committed.set(id, { topic, startedAt: some.startedAt, committedAt: step });
        }
      }
    } else if (what < 0.95) database.tick();
  };
  return { write, committed };
};

interface Tally {
  events: number;
  together: number;
  alone: number;
  rejoined: number;
}

const runHistory = async (seed: number, tally: Tally): Promise<void> => {
  const random = seededRandom(seed);
  const database = makeFakeLog();
  const { write, committed } = makeWriters(database, random);
  const start = await earliest(database);
  await using tail = openTail(database);
  const audiences = [">", ">", "a", "b", "new1"].map((pattern) => new Audience(pattern, start));
  // The tail's reads may stay on their way for many steps.
  let arrival = Promise.withResolvers<void>();
  const arrive = (): void => {
    arrival.resolve();
    arrival = Promise.withResolvers<void>();
  };
  database.before = async (call) => {
    if ((call === "live" || call === "answer") && random.chance(0.4)) await arrival.promise;
    if (random.chance(0.3)) write();
    if (random.chance(0.3)) await turn();
    if (random.chance(0.02)) throw new Error("planted: the connection broke");
  };
  const read = async (audience: Audience): Promise<boolean> => {
    audience.follower ??= tail.follow(audience.cursor, audience.pattern, random.integer(1, 4));
    const wasTogether = audience.follower.isTogether();
    try {
      const batch = await audience.follower.next();
      if (!wasTogether && audience.follower.isTogether()) tally.rejoined += 1;
      if (batch === null) return false;
      if (wasTogether) tally.together += batch.events.length;
      else tally.alone += batch.events.length;
      for (const { id } of batch.events) audience.take(id, committed.get(id));
      audience.cursor = decodeCursor(encodeCursor(batch.cursor));
      if (!random.chance(0.1)) return true;
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("planted")) throw error;
    }
    // Its process is gone; the next one goes on from what was stored.
    audience.follower.leave();
    audience.follower = null;
    return true;
  };
  for (let step = 0; step < 250; step += 1) {
    if (random.chance(0.4)) write();
    else if (random.chance(0.2)) arrive();
    else if (random.chance(0.3)) tail.wakeups.raise();
    else if (random.chance(0.25)) await turn();
    // The last one is slow.
    else
      await read(
        random.chance(0.9) ? random.pick(audiences.slice(1)) : (audiences[0] ?? random.pick(audiences)),
      );
  }
  database.before = () => {};
  arrive();
  await tail.settle();
  await tail.clock.pass(limits.pauseMs);
  for (let quiet = 0; quiet < 4;) {
    await tail.settle();
    quiet += 1;
    for (const audience of audiences) if (await read(audience)) quiet = 0;
  }
  for (const audience of audiences) {
    const lost = [...committed].filter(
      ([id, { topic }]) => audience.wants(topic) && !audience.delivered.has(id),
    );
    if (lost.length > 0) throw new Error(`${audience.pattern} lost ${lost.map(([id]) => id).join(", ")}`);
    tally.events += audience.delivered.size;
  }
  if (!audiences.every((it) => it.follower?.isTogether() === true)) throw new Error("somebody stays alone");
};

test("in 60 random histories nobody loses, repeats or reorders, whoever joins, lags or stops, wherever", async () => {
  const { integer } = makeRandom("tail histories");
  const tally: Tally = { events: 0, together: 0, alone: 0, rejoined: 0 };
  for (let n = 0; n < 60; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      await runHistory(seed, tally);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  expect(tally.events).toBeGreaterThan(1_000);
  expect(tally.together).toBeGreaterThan(80);
  expect(tally.alone).toBeGreaterThan(80);
  expect(tally.rejoined).toBeGreaterThan(80);
});

describe("the tail", () => {
  test("reads a window once for all its members", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const start = await earliest(database);
    const followers = Array.from({ length: 5 }, () => tail.follow(start));
    for (const follower of followers) await drain(follower);
    await tail.settle();
    database.calls.length = 0;
    database.publish("a");
    await tail.settle();
    for (const follower of followers) expect(await drain(follower)).toEqual([1n]);
    expect(database.calls.filter((call) => call === "live")).toHaveLength(1);
    expect(database.calls.filter((call) => call === "firstPage" || call === "nextPage")).toEqual([]);
  });

  test("shows a window that was on its way to nobody who joined meanwhile, and they miss nothing of it", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const start = await earliest(database);
    database.publish("a");
    database.publish("b");
    const first = tail.follow(start, "a");
    expect(await drain(first)).toEqual([1n]);
    await tail.settle();
    const arrival = Promise.withResolvers<void>();
    database.before = async (call) => {
      if (call === "live") await arrival.promise;
    };
    await tail.settle();
    // The read that is on its way asks for topic a alone.
    const second = tail.follow(start, ">");
    expect(await drain(second)).toEqual([1n, 2n]);
    const published = [database.publish("a"), database.publish("b")];
    arrival.resolve();
    await tail.settle();
    expect(await drain(first)).toEqual(published.slice(0, 1));
    expect(await drain(second)).toEqual(published);
    for (const follower of [first, second]) expect(follower.isTogether()).toBeTrue();
  });

  test("is joined by who is ahead of a window that is on its way: nothing comes twice", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const start = await earliest(database);
    const first = tail.follow(start);
    await drain(first);
    await tail.settle();
    const arrival = Promise.withResolvers<void>();
    database.before = async (call) => {
      if (call === "answer") await arrival.promise;
    };
    const published = [database.publish("a")];
    await tail.settle();
    published.push(database.publish("a"));
    const ahead = tail.follow(start);
    expect(await drain(ahead)).toEqual(published);
    arrival.resolve();
    await tail.settle();
    expect(await drain(first)).toEqual(published.slice(0, 1));
    published.push(database.publish("a"));
    await tail.settle();
    expect(await drain(first)).toEqual(published.slice(1));
    expect(await drain(ahead)).toEqual(published.slice(2));
    for (const follower of [first, ahead]) expect(follower.isTogether()).toBeTrue();
  });

  test("is joined by who has seen what it has not, and the other way round: nothing waits for the next event", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const start = await earliest(database);
    database.publish("a");
    const first = tail.follow(start);
    expect(await drain(first)).toEqual([1n]);
    await tail.settle();
    const running = database.begin();
    const id = running.publish("a");
    // A tick claims to have seen this one. The tail does not: it has no event, so a crash might take it back.
    database.begin().commit();
    database.tick();
    const ahead = tail.follow(start);
    expect(await drain(ahead)).toEqual([1n]);
    running.commit();
    await tail.settle();
    expect(await drain(first)).toEqual([id]);
    expect(await drain(ahead)).toEqual([id]);
    const published = database.publish("a");
    await tail.settle();
    for (const follower of [first, ahead]) {
      expect(follower.isTogether()).toBeTrue();
      expect(await drain(follower)).toEqual([published]);
    }
  });

  test("puts out who lags too far behind, holds nobody else back, and takes the lagging one in again", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const start = await earliest(database);
    const slow = tail.follow(start);
    const fast = tail.follow(start);
    await drain(slow);
    await drain(fast);
    const expected: bigint[] = [];
    const seen: bigint[] = [];
    for (let n = 0; n < 30; n += 1) {
      expected.push(database.publish("a"));
      await tail.settle();
      seen.push(...(await drain(fast)));
      expect(fast.isTogether()).toBeTrue();
    }
    expect(seen).toEqual(expected);
    database.calls.length = 0;
    expect(await drain(slow)).toEqual(expected);
    expect(database.calls).toContain("firstPage");
    await tail.settle();
    await drain(slow);
    expect(slow.isTogether()).toBeTrue();
    database.calls.length = 0;
    expected.push(database.publish("a"));
    await tail.settle();
    expect(await drain(slow)).toEqual(expected.slice(-1));
    expect(database.calls).not.toContain("firstPage");
  });

  test("reads on when one of its members has nothing left, and what came meanwhile in one window", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const start = await earliest(database);
    const followers = [tail.follow(start), tail.follow(start)];
    for (const follower of followers) await drain(follower);
    await tail.settle();
    database.publish("a");
    await tail.settle();
    database.calls.length = 0;
    for (let n = 0; n < 3; n += 1) {
      database.publish("a");
      await tail.settle();
    }
    expect(database.calls).toEqual([]);
    const [hungry, busy] = followers;
    const seen = hungry === undefined ? [] : await drain(hungry);
    for (let n = 0; n < 5; n += 1) await turn();
    expect(database.calls.filter((call) => call === "live")).toHaveLength(1);
    if (hungry !== undefined) seen.push(...(await drain(hungry)));
    expect(seen).toEqual([1n, 2n, 3n, 4n]);
    expect(busy === undefined ? [] : await drain(busy)).toEqual(seen);
  });

  test("reads what is larger than a page in pages, once for all", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const start = await earliest(database);
    const followers = [tail.follow(start), tail.follow(start)];
    for (const follower of followers) await drain(follower);
    await tail.settle();
    database.calls.length = 0;
    const transaction = database.begin();
    const expected = Array.from({ length: 40 }, () => transaction.publish("a"));
    transaction.commit();
    const seen: bigint[][] = [[], []];
    for (let n = 0; n < 12; n += 1) {
      await tail.settle();
      for (const [index, follower] of followers.entries()) seen[index]?.push(...(await drain(follower)));
    }
    expect(seen).toEqual([expected, expected]);
    expect(database.calls.filter((call) => call === "firstPage")).toHaveLength(1);
    expect(followers.every((follower) => follower.isTogether())).toBeTrue();
  });

  test("rests nowhere that a crash could take back: transactions without events may not have been flushed", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const follower = tail.follow(await earliest(database));
    database.publish("a");
    expect(await drain(follower)).toEqual([1n]);
    await tail.settle();
    database.begin().commit();
    database.publish("a");
    database.begin().commit();
    await tail.settle();
    expect(await drain(follower)).toEqual([2n]);
    expect(follower.isTogether()).toBeTrue();
    // The last transaction's xid is handed out again.
    database.nextXid -= 1n;
    database.latestCompleted -= 1n;
    database.publish("a");
    await tail.settle();
    expect(await drain(follower)).toEqual([3n]);
  });

  test("asks nothing while nobody is in it", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const follower = tail.follow(await earliest(database));
    await drain(follower);
    await tail.settle();
    follower.leave();
    database.calls.length = 0;
    database.publish("a");
    await tail.settle();
    expect(database.calls).toEqual([]);
  });
});
