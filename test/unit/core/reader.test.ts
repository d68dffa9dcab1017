//! The reader over a model of the log, so that thousands of histories take a second: what PostgreSQL itself does to it
//! is tested in test/integration.

import { describe, expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import { type Cursor, inWindow } from "../../../src/core/cursor.ts";
import { makeReader, type Reader, type ReaderOptions } from "../../../src/core/read/reader.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { makeRandom, seededRandom } from "../../support/seed.ts";
import { epochIds, type FakeLog, type FakeTransaction, makeFakeLog } from "./fake-log.ts";
import { outcomeOf, settle } from "./fakes.ts";

const readerFrom = (database: FakeLog, cursor: Cursor, options: Partial<ReaderOptions> = {}): Reader =>
  makeReader(database.log, cursor, {
    filter: parseTopicPatterns([">"]),
    epoch: database.newestEpoch(),
    batchEventsMax: 3,
    pageEventsMax: 5,
    pageBytesMax: 1_000,
    onGap: (gap) => {
      throw new Error(`unexpected gap: ${Bun.inspect(gap)}`);
    },
    ...options,
  });

const earliest = async (database: FakeLog): Promise<Cursor> =>
  await startCursor(database.log, database.newestEpoch(), { kind: "earliest" });

const drain = async (reader: Reader): Promise<bigint[]> => {
  const ids: bigint[] = [];
  for (let batch = await reader.next(); batch !== null; batch = await reader.next()) {
    ids.push(...batch.events.map((event) => event.id));
  }
  return ids;
};

/** One random history with a reader in it that stops and goes on all the time; throws on the first thing that is wrong. */
const runHistory = async (seed: number): Promise<number> => {
  const random = seededRandom(seed);
  const database = makeFakeLog();
  database.cutsFirst = () => random.chance(0.1);
  database.ticksAhead = () => random.integer(1, 4);
  const open: { transaction: FakeTransaction; ids: bigint[]; startedAt: number }[] = [];
  const committed = new Map<bigint, { startedAt: number; committedAt: number }>();
  const delivered: bigint[] = [];
  let cursor = await earliest(database);
  let reader: Reader | null = null;
  let latestStart = -1;
  const read = async (): Promise<boolean> => {
    reader ??= readerFrom(database, cursor, {
      batchEventsMax: random.integer(1, 4),
      pageEventsMax: random.integer(1, 8),
      pageBytesMax: random.integer(1, 30),
    });
    const batch = await reader.next();
    if (batch === null) return false;
    for (const { id } of batch.events) {
      const written = committed.get(id);
      if (written === undefined) throw new Error(`${id} was never committed`);
      if (written.committedAt < latestStart) throw new Error(`${id} is out of order`);
      latestStart = Math.max(latestStart, written.startedAt);
      delivered.push(id);
    }
    cursor = decodeCursor(encodeCursor(batch.cursor));
    if (random.chance(0.3)) reader = null;
    return true;
  };
  for (let step = 0; step < 120; step += 1) {
    const what = random.random();
    const some = open.length === 0 ? undefined : random.pick(open);
    if (what < 0.2) open.push({ transaction: database.begin(), ids: [], startedAt: Infinity });
    else if (what < 0.45 && some !== undefined) {
      some.startedAt = Math.min(some.startedAt, step);
      some.ids.push(some.transaction.publish(random.pick(["a", "b"]), "x".repeat(random.integer(1, 9))));
    } else if (what < 0.62 && some !== undefined) {
      open.splice(open.indexOf(some), 1);
      if (random.chance(0.2)) some.transaction.rollback();
      else {
        some.transaction.commit();
        for (const id of some.ids) committed.set(id, { startedAt: some.startedAt, committedAt: step });
      }
    } else if (what < 0.68) database.tick();
    else if (what < 0.7) database.ticks = database.ticks.filter(() => random.chance(0.6));
    else await read();
  }
  while (await read());
  const lost = [...committed.keys()].filter((id) => !delivered.includes(id));
  if (lost.length > 0) throw new Error(`lost ${lost.join(", ")}`);
  if (new Set(delivered).size !== delivered.length) throw new Error("delivered twice");
  return delivered.length;
};

test("in 200 random histories nothing is lost, repeated or out of order, wherever the reader stops and goes on", async () => {
  const { integer } = makeRandom("histories");
  let events = 0;
  for (let n = 0; n < 200; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      events += await runHistory(seed);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  expect(events).toBeGreaterThan(1_000);
});

describe("an idle reader", () => {
  test("looks once per call and reads no page", async () => {
    const database = makeFakeLog();
    database.publish("a");
    const reader = readerFrom(database, await earliest(database));
    expect(await drain(reader)).toEqual([1n]);
    database.calls.length = 0;
    expect(await reader.next()).toBeNull();
    expect(await reader.next()).toBeNull();
    expect(database.calls).toEqual(["look", "look"]);
  });

  test("that says null has looked after it was asked: an event committed before the call is never missed", async () => {
    const database = makeFakeLog();
    const reader = readerFrom(database, await earliest(database));
    database.publish("a");
    expect((await reader.next())?.events).toHaveLength(1);
    database.publish("a");
    const batch = (await reader.next()) ?? { events: [] };
    expect(batch.events.map((event) => event.id)).toEqual([2n]);
  });

  test("moves its cursor past what it does not want, in batches without events", async () => {
    const database = makeFakeLog();
    const start = await earliest(database);
    const reader = readerFrom(database, start, { filter: parseTopicPatterns(["b"]) });
    database.publish("a");
    const batch = await reader.next();
    expect(batch?.events).toEqual([]);
    expect(batch?.cursor).not.toEqual(start);
    expect(await reader.next()).toBeNull();
  });
});

test("a reader sent elsewhere while a page is on its way forgets that page", async () => {
  const database = makeFakeLog();
  const start = await earliest(database);
  const ids = Array.from({ length: 12 }, () => database.publish("a"));
  const reader = readerFrom(database, start, { pageEventsMax: 4, batchEventsMax: 4 });
  const arrival = Promise.withResolvers<void>();
  database.before = async (call) => {
    if (call === "nextPage") await arrival.promise;
  };
  expect((await reader.next())?.events.map((event) => event.id)).toEqual(ids.slice(0, 4));
  const moved = reader.goTo(start, null);
  await settle();
  arrival.resolve();
  await moved;
  expect(await drain(reader)).toEqual(ids);
});

test("a reader sent to a place gets there, also when it is told of a gap on the way", async () => {
  const database = makeFakeLog();
  const start = await earliest(database);
  const gaps: unknown[] = [];
  const reader = readerFrom(database, start, { onGap: (gap) => gaps.push(gap) });
  const ids = Array.from({ length: 4 }, () => database.publish("a"));
  const { cursor: target } = (await readerFrom(database, start, { batchEventsMax: 9 }).next()) ?? {
    cursor: start,
  };
  await reader.goTo(start, target.seen);
  // Between the look for the way and the one behind the page.
  database.before = (call) => {
    if (call !== "firstPage") return;
    database.before = () => {};
    database.purge("a", 3n);
  };
  expect(await drain(reader)).toEqual(ids.slice(3));
  expect(gaps).toHaveLength(1);
});

test("one event heavier than a page comes all the same, alone", async () => {
  const database = makeFakeLog();
  for (let n = 0; n < 3; n += 1) database.publish("a", "x".repeat(500));
  const reader = readerFrom(database, await earliest(database), { pageBytesMax: 10 });
  const sizes: number[] = [];
  for (let batch = await reader.next(); batch !== null; batch = await reader.next()) {
    if (batch.events.length > 0) sizes.push(batch.events.length);
  }
  expect(sizes).toEqual([1, 1, 1]);
});

test("another epoch, or a server that is another, stops it loudly", async () => {
  const database = makeFakeLog();
  const reader = readerFrom(database, await earliest(database));
  database.isRunning = false;
  expect(await outcomeOf(reader.next())).toBe("epoch_changed");
  database.openEpoch(epochIds.second, 2n ** 47n);
  expect(await outcomeOf(reader.next())).toBe("epoch_changed");
});

describe("a reader that is told to go on from another place", () => {
  const setup = async () => {
    const database = makeFakeLog();
    const start = await earliest(database);
    for (let n = 0; n < 3; n += 1) database.publish("a");
    const place = { ...start, seen: database.current() };
    return { database, start, place, reader: readerFrom(database, start) };
  };

  test("stops where it is told to, until it is told to go on", async () => {
    const { database, start, place, reader } = await setup();
    database.publish("a");
    await reader.goTo(start, place.seen);
    expect(await drain(reader)).toEqual([1n, 2n, 3n]);
    expect(await drain(reader)).toEqual([]);
    await reader.goTo(place, null);
    expect(await drain(reader)).toEqual([4n]);
  });

  test("knows nothing any more of the window that it read last", async () => {
    const { database, place, reader } = await setup();
    database.tick();
    expect(await drain(reader)).toEqual([1n, 2n, 3n]);
    for (let n = 0; n < 4; n += 1) database.publish("a");
    await reader.goTo(inWindow(place, database.current(), 5n), null);
    expect(await drain(reader)).toEqual([6n, 7n]);
  });

  test("says from there on where it stands", async () => {
    const { database, place, reader } = await setup();
    await reader.goTo(place, null);
    for (let n = 0; n < 4; n += 1) database.publish("a");
    expect(await reader.next()).toMatchObject({ cursor: { seen: place.seen, window: { after: 6n } } });
  });
});

test("a reader is near the present when its window ended there, and not while ticks lie ahead", async () => {
  const database = makeFakeLog();
  const reader = readerFrom(database, await earliest(database));
  database.publish("a");
  database.tick();
  database.publish("a");
  const places: boolean[] = [];
  while ((await reader.next()) !== null) places.push(reader.isNear());
  expect(places).toEqual([false, true]);
});

test("a database that has not yet seen what the cursor has seen stops it loudly", async () => {
  const database = makeFakeLog();
  database.publish("a");
  const reader = readerFrom(database, await earliest(database));
  await drain(reader);
  database.latestCompleted -= 1n;
  expect(await outcomeOf(reader.next())).toBe("database_went_back");
});

describe("what retention removed", () => {
  const setup = async (onGap: ReaderOptions["onGap"]) => {
    const database = makeFakeLog();
    const start = await earliest(database);
    for (let n = 0; n < 4; n += 1) database.publish("a");
    return { database, reader: readerFrom(database, start, { onGap, pageEventsMax: 2, batchEventsMax: 2 }) };
  };

  test("before it was read is told once, and reading goes on behind it", async () => {
    const gaps: unknown[] = [];
    const { database, reader } = await setup((gap) => gaps.push(gap));
    database.purge("a", 3n);
    expect(await drain(reader)).toEqual([4n]);
    expect(gaps).toEqual([[{ topic: "a", events: 3, exact: true }]]);
  });

  test("before it was read is told, though nothing else has happened", async () => {
    const gaps: unknown[] = [];
    const { database, reader } = await setup((gap) => gaps.push(gap));
    database.purge("a", 4n);
    expect(await drain(reader)).toEqual([]);
    expect(gaps).toEqual([[{ topic: "a", events: 4, exact: true }]]);
  });

  test("between two pages of a window is told, and what is left of the window comes", async () => {
    const gaps: unknown[] = [];
    const { database, reader } = await setup((gap) => gaps.push(gap));
    expect((await reader.next())?.events.map((event) => event.id)).toEqual([1n, 2n]);
    database.purge("a", 3n);
    expect(await drain(reader)).toEqual([4n]);
    expect(gaps).toEqual([[{ topic: "a", events: 3, exact: false }]]);
  });

  test("while the page was on its way is noticed: the page is not handed over as if it were whole", async () => {
    const gaps: unknown[] = [];
    const { database, reader } = await setup((gap) => gaps.push(gap));
    await reader.next();
    // The page sees the emptied log; the look that was sent with it is the later statement.
    database.before = (call) => {
      if (call !== "nextPage") return;
      database.purge("a", 4n);
      database.before = () => {};
    };
    expect(await drain(reader)).toEqual([]);
    expect(gaps).toEqual([[{ topic: "a", events: 4, exact: false }]]);
  });

  test("between the page and the look behind it is not handed over: it has been told as gone", async () => {
    const gaps: unknown[] = [];
    const { database, reader } = await setup((gap) => gaps.push(gap));
    database.before = (call) => {
      if (call !== "look" || database.calls.at(-2) !== "firstPage") return;
      database.purge("a", 4n);
      database.before = () => {};
    };
    expect(await drain(reader)).toEqual([]);
    expect(gaps).toEqual([[{ topic: "a", events: 4, exact: true }]]);
  });

  test("is told when its place comes, not when it was noticed while reading ahead", async () => {
    const gaps: unknown[] = [];
    const database = makeFakeLog();
    const start = await earliest(database);
    for (let n = 0; n < 4; n += 1) database.publish("a");
    const options = { onGap: (gap: unknown) => void gaps.push(gap), pageEventsMax: 2, batchEventsMax: 1 };
    const reader = readerFrom(database, start, options);
    database.before = (call) => {
      if (call === "windowEnd") database.purge("a", 4n);
    };
    const ids: bigint[] = [];
    for (let n = 0; n < 2; n += 1) {
      const batch = await reader.next();
      ids.push(...(batch?.events ?? []).map((event) => event.id));
      await settle();
      expect(gaps).toEqual([]);
    }
    expect(ids).toEqual([1n, 2n]);
    expect(await drain(reader)).toEqual([]);
    expect(gaps).toEqual([[{ topic: "a", events: 4, exact: false }]]);
  });

  test("after it was read is nobody's loss", async () => {
    const { database, reader } = await setup(() => {
      throw new Error("there is no gap");
    });
    expect(await drain(reader)).toHaveLength(4);
    database.purge("a", 4n);
    database.publish("a");
    expect(await drain(reader)).toEqual([5n]);
  });

  test("of other topics is nobody's loss", async () => {
    const database = makeFakeLog();
    const start = await earliest(database);
    database.publish("a");
    database.publish("b");
    const reader = readerFrom(database, start, { filter: parseTopicPatterns(["b"]) });
    database.purge("a", 1n);
    expect(await drain(reader)).toEqual([2n]);
  });

  test("stops a reader that is told to stop, in front of the gap", async () => {
    const { database, reader } = await setup(() => {
      throw new Error("planted");
    });
    database.purge("a", 1n);
    expect(await outcomeOf(reader.next())).toBe("Error: planted");
    expect(await outcomeOf(reader.next())).toBe("Error: planted");
  });
});

test("a filter that wants nearly all reads its windows by id, however many pages they take", async () => {
  const database = makeFakeLog();
  const start = await earliest(database);
  for (let n = 0; n < 60; n += 1) {
    database.publish("a");
    if (n % 20 === 19) database.tick();
  }
  const reader = readerFrom(database, start, {
    filter: parseTopicPatterns(["a"]),
    pageEventsMax: 3,
    batchEventsMax: 3,
  });
  expect(await drain(reader)).toHaveLength(60);
  expect(database.calls.filter((call) => call === "firstPage")).toHaveLength(1);
});
