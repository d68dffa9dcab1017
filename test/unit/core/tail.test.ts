//! The shared tail over a model of the log, case by case; tail-histories.test.ts has all of it at random.

import { describe, expect, test } from "bun:test";

import { epochIds, type FakeLog, makeFakeLog } from "./fake-log.ts";
import { drain, earliest, limits, openTail, turn } from "./fake-tail.ts";

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
    const got: bigint[][] = [[], []];
    // In one window or in two, as soon as the tail is about it.
    for (let look = 0; look < 3; look += 1) {
      await tail.settle();
      for (const [n, follower] of [first, ahead].entries()) got[n]?.push(...(await drain(follower)));
    }
    expect(got).toEqual([published.slice(1), published.slice(2)]);
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

  test("reads what was published while it read the pages before, though its hint came and went", async () => {
    for (const call of ["firstPage", "windowEnd", "nextPage", "look"]) {
      const database = makeFakeLog();
      await using tail = openTail(database);
      const follower = tail.follow(await earliest(database));
      await drain(follower);
      await tail.settle();
      await drain(follower);
      // More than a page.
      const expected = Array.from({ length: 8 }, () => database.publish("a"));
      let isLate = true;
      database.before = (which) => {
        if (which !== call || !isLate) return;
        isLate = false;
        expected.push(database.publish("a"));
        tail.wakeups.raise();
      };
      await tail.settle();
      const seen: bigint[] = [];
      for (let look = 0; look < 20; look += 1) {
        await turn();
        seen.push(...(await drain(follower)));
      }
      // No time has passed: nothing was left to the poll interval.
      expect([call, isLate, seen]).toEqual([call, false, expected]);
      expect(follower.isTogether()).toBeTrue();
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

  test("reads one page ahead of its members where more is known to be there, and no more", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const follower = tail.follow(await earliest(database));
    await drain(follower);
    await tail.settle();
    const transaction = database.begin();
    for (let n = 0; n < 40; n += 1) transaction.publish("a");
    transaction.commit();
    database.calls.length = 0;
    const pagesRead = (): number => database.calls.filter((call) => call.endsWith("Page")).length;
    for (let n = 0; n < 3; n += 1) {
      await tail.settle();
      expect(pagesRead()).toBe(2);
    }
    // A page of five, in batches of three.
    await follower.next();
    await tail.settle();
    expect(pagesRead()).toBe(2);
    await follower.next();
    await tail.settle();
    expect(pagesRead()).toBe(3);
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

  test("looks as often as its most eager member polls, whatever becomes of the hints", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const follower = tail.follow(await earliest(database));
    await drain(follower);
    await tail.settle();
    await drain(follower);
    database.publish("a");
    await tail.clock.pass(1_000);
    expect(await drain(follower)).toEqual([1n]);
    expect(follower.isTogether()).toBeTrue();
  });

  test("takes in nobody of another epoch: what was seen in one says nothing of the other", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const first = tail.follow(await earliest(database));
    await drain(first);
    await tail.settle();
    // It has not noticed yet.
    const arrival = Promise.withResolvers<void>();
    database.before = async (call) => {
      if (call === "live") await arrival.promise;
    };
    database.openEpoch(epochIds.second, 2n ** 36n);
    const second = tail.follow(await earliest(database));
    const taken = [await drain(second), second.isTogether()];
    arrival.resolve();
    expect(taken).toEqual([[], false]);
  });

  test("is left alone for a while when it has failed", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database);
    const follower = tail.follow(await earliest(database));
    await drain(follower);
    await tail.settle();
    await drain(follower);
    database.before = (call) => {
      if (call === "live") throw new Error("no answer");
    };
    database.calls.length = 0;
    for (let n = 1n; n <= 5n; n += 1n) {
      database.publish("a");
      await tail.settle();
      expect(await drain(follower)).toEqual([n]);
      expect(follower.isTogether()).toBeFalse();
    }
    expect(database.calls.filter((call) => call === "live")).toHaveLength(1);
    database.before = () => {};
    await tail.clock.pass(limits.pauseMs);
    await drain(follower);
    expect(follower.isTogether()).toBeTrue();
  });

  const oddities: Readonly<
    Record<string, { readonly happens: (database: FakeLog) => void; readonly told: string | null }>
  > = {
    "a log that has begun a new epoch": {
      happens: (database) => {
        database.openEpoch(epochIds.second, 2n ** 47n);
        database.publish("a");
      },
      told: "epoch_changed",
    },
    "a server that is not the one of its epoch": {
      happens: (database) => {
        database.isRunning = false;
        database.publish("a");
      },
      told: "epoch_changed",
    },
    "a server that has not seen what it has seen": {
      happens: (database) => {
        database.latestCompleted -= 1n;
      },
      told: "database_went_back",
    },
    "a log that does not answer": {
      happens: (database) => {
        database.before = (call) => {
          if (call === "live") throw new Error("no answer");
        };
      },
      told: null,
    },
  };
  for (const [what, { happens, told }] of Object.entries(oddities)) {
    test(`at ${what} hands out nothing more and lets its members see for themselves`, async () => {
      const database = makeFakeLog();
      await using tail = openTail(database);
      const news: string[] = [];
      const follower = tail.follow(await earliest(database), ">", 3, () => news.push("news"));
      database.publish("a");
      expect(await drain(follower)).toEqual([1n]);
      await tail.settle();
      expect(await drain(follower)).toEqual([]);
      news.length = 0;
      database.calls.length = 0;
      happens(database);
      await tail.settle();
      expect(news).toEqual(["news"]);
      const alone = await drain(follower).catch((error: unknown) => error);
      expect(database.calls).toContain("look");
      expect(alone).toEqual(told === null ? [] : expect.objectContaining({ code: told }));
    });
  }

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
