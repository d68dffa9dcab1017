import { describe, expect, test } from "bun:test";

import { encodeCursor } from "../../../src/core/cursor-codec.ts";
import { PgstreamError } from "../../../src/core/errors.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { epochIds, makeFakeLog } from "./fake-log.ts";
import { makeSubscription, retryable } from "./fake-subscription.ts";
import { isPending, outcomeOf, settle } from "./fakes.ts";

describe("a lost connection", () => {
  test("is retried for ever, asking where it was each time, and nothing is handled twice", async () => {
    const { database, run, clock, stop, store, handled, retries } = makeSubscription();
    for (let n = 0; n < 9; n += 1) database.publish("a");
    let calls = 0;
    database.before = () => {
      calls += 1;
      if (calls % 7 === 0) throw retryable();
    };
    const running = run();
    await clock.pass(60_000);
    expect(handled).toEqual(Array.from({ length: 9 }, (_, n) => BigInt(n + 1)));
    expect(retries.length).toBeGreaterThan(3);
    expect(store.asked).toBe(retries.length + 1);
    stop.abort();
    await running;
  });

  test("goes on where the store says, not where memory says: another process may have moved on", async () => {
    const { database, run, clock, stop, store, handled } = makeSubscription();
    database.publish("a");
    const running = run();
    await settle(300);
    expect(handled).toEqual([1n]);
    database.publish("a");
    const elsewhere = await startCursor(database.log, database.newestEpoch(), { kind: "id", id: 3n });
    store.cursor = encodeCursor(elsewhere);
    database.before = () => {
      database.before = () => {};
      throw retryable();
    };
    await clock.pass(10_000);
    database.publish("a");
    await clock.pass(2_000);
    expect(handled).toEqual([1n, 3n]);
    stop.abort();
    await running;
  });

  test("that mended for a while is none of the outage that comes next: it is tried again as soon as ever", async () => {
    for (const onEpochChange of ["stop", "cross"] as const) {
      const { database, run, clock, stop, store, handled, retries } = makeSubscription({ onEpochChange });
      for (let n = 0; n < 40; n += 1) database.publish("a");
      store.cursor = encodeCursor(
        await startCursor(database.log, database.newestEpoch(), { kind: "earliest" }),
      );
      if (onEpochChange === "cross") database.openEpoch(epochIds.second, 1_000n);
      let before = 0;
      // Not right behind a failure, which the pages read ahead may have been in front of.
      database.before = (call) => {
        const hasGoneOn = handled.length > before;
        before = handled.length;
        if (hasGoneOn && call !== "epoch") throw retryable();
      };
      const running = run();
      await clock.pass(5_000);
      expect(retries.length).toBeGreaterThan(3);
      expect(new Set(clock.slept.filter((ms) => ms < 1_000))).toEqual(new Set([10]));
      stop.abort();
      await running;
    }
  });

  test("an error that waiting cannot mend ends it", async () => {
    const { database, run } = makeSubscription();
    database.before = () => {
      throw new PgstreamError("permission_denied", "planted");
    };
    expect(await outcomeOf(run())).toBe("permission_denied");
  });

  test("a stored cursor that is none ends it", async () => {
    const { run, store } = makeSubscription();
    store.cursor = "garbage";
    expect(await outcomeOf(run())).toBe("invalid_cursor");
  });
});

describe("a new subscription at the latest, before its first event", () => {
  test("stores where it started before anything else", async () => {
    const { database, run, stop, store, handled, advanced } = makeSubscription({ from: { kind: "latest" } });
    database.publish("a");
    const running = run();
    await settle(200);
    stop.abort();
    await running;
    const now = await startCursor(database.log, database.newestEpoch(), { kind: "latest" });
    expect([handled, advanced, store.cursor]).toEqual([[], [encodeCursor(now)], encodeCursor(now)]);
  });

  for (const stores of ["a store", "an application that stores handled batches alone"]) {
    test(`gets what was published while the connection was lost, with ${stores}`, async () => {
      const { database, run, stop, handled, clock, retries, raise } = makeSubscription(
        { from: { kind: "latest" } },
        stores === "a store" ? {} : { advance: async () => await Promise.resolve() },
      );
      database.publish("a");
      const running = run();
      await settle(200);
      database.before = () => {
        if (retries.length > 0) return;
        database.publish("a");
        throw retryable();
      };
      raise();
      await clock.pass(10_000);
      expect(retries).toHaveLength(1);
      expect(handled).toEqual([2n]);
      stop.abort();
      await running;
    });
  }
});

test("a new subscription at the earliest stores no start: another one can still be chosen", async () => {
  const { run, stop, store, advanced } = makeSubscription();
  const running = run();
  await settle(200);
  stop.abort();
  await running;
  expect([advanced, store.cursor]).toEqual([[], null]);
});

describe("moving past other people's events", () => {
  test("tells the cursor now and then, at most once per interval", async () => {
    const { database, run, clock, stop, advanced, raise } = makeSubscription({
      filter: parseTopicPatterns(["mine"]),
    });
    const running = run();
    for (let n = 0; n < 30; n += 1) {
      database.publish("other");
      raise();
      await clock.pass(500);
    }
    expect(advanced.length).toBeGreaterThanOrEqual(2);
    expect(advanced.length).toBeLessThanOrEqual(3);
    expect(new Set(advanced).size).toBe(advanced.length);
    stop.abort();
    await running;
  });

  test("is not told where the handler does not ask for it", async () => {
    const { database, run, clock, stop } = makeSubscription({
      filter: parseTopicPatterns(["mine"]),
      advanceIntervalMs: 0,
    });
    const running = run();
    database.publish("other");
    await clock.pass(20_000);
    expect(await isPending(running)).toBe(true);
    stop.abort();
    await running;
  });
});

describe("events that were purged before they were read", () => {
  const purged = (onPurged: "stop" | "skip") => {
    const it = makeSubscription({ onPurged });
    for (let n = 0; n < 4; n += 1) it.database.publish("a");
    it.store.cursor = encodeCursor({
      epoch: epochIds.first,
      purge: 0n,
      seen: it.database.newestEpoch().snapshot,
      window: null,
    });
    it.database.purge("a", 3n);
    return it;
  };

  test("stop it, when told so, in front of the gap", async () => {
    const { run, store, handled } = purged("stop");
    const before = store.cursor;
    expect(await outcomeOf(run())).toBe("events_purged");
    expect(handled).toEqual([]);
    expect(store.cursor).toBe(before);
  });

  test("are told and skipped, when told so", async () => {
    const { run, stop, handled, gaps, logger } = purged("skip");
    const running = run();
    await settle(500);
    expect(handled).toEqual([4n]);
    expect(gaps).toEqual([{ topic: "a", events: 3, exact: true }]);
    expect(logger.lines.filter(({ level }) => level === "warn").map(({ fields }) => fields)).toEqual([
      { gap: "3 of a" },
    ]);
    stop.abort();
    await running;
  });
});

describe("another epoch", () => {
  const cursorOf = (epoch: string): string =>
    encodeCursor({ epoch, purge: 0n, seen: makeFakeLog().newestEpoch().snapshot, window: null });
  const promote = ({ database }: ReturnType<typeof makeSubscription>): void => {
    database.isRunning = false;
  };
  const openNext = ({ database }: ReturnType<typeof makeSubscription>): void => {
    database.openEpoch(epochIds.second, 2n ** 47n);
    database.publish("a");
  };

  test("than the stored cursor's stops it: epoch_changed", async () => {
    const it = makeSubscription();
    it.store.cursor = cursorOf(epochIds.first);
    openNext(it);
    expect(await outcomeOf(it.run())).toBe("epoch_changed");
    expect(it.handled).toEqual([]);
  });

  test("that this log has never known stops it: unknown_epoch", async () => {
    const it = makeSubscription();
    it.store.cursor = cursorOf(epochIds.foreign);
    it.database.publish("a");
    expect(await outcomeOf(it.run())).toBe("unknown_epoch");
    expect(it.handled).toEqual([]);
  });

  test.each([epochIds.first, epochIds.foreign])(
    "told to restart, it starts over at the first event (%s)",
    async (id) => {
      const it = makeSubscription({ onEpochChange: "restart" });
      it.store.cursor = cursorOf(id);
      it.database.publish("a");
      openNext(it);
      const running = it.run();
      await settle(500);
      expect(it.handled).toEqual([2n ** 47n]);
      it.stop.abort();
      await running;
    },
  );

  test("told to restart, it is told what retention has removed of the new epoch, for it had a place in this log", async () => {
    const it = makeSubscription({ onEpochChange: "restart", onPurged: "skip" });
    it.store.cursor = cursorOf(epochIds.first);
    openNext(it);
    const [first = 0n] = it.database.rows.map((row) => row.id).slice(-1);
    it.database.publish("a");
    it.database.purge("a", first);
    const running = it.run();
    await settle(500);
    expect(it.handled).toEqual([first + 1n]);
    expect(it.gaps).toMatchObject([{ topic: "a", events: 1 }]);
    it.stop.abort();
    await running;
  });

  test("told to restart, it has missed nothing of a log that it never had a place in", async () => {
    const it = makeSubscription({ onEpochChange: "restart" });
    it.store.cursor = cursorOf(epochIds.foreign);
    for (let n = 0; n < 3; n += 1) it.database.publish("a");
    it.database.purge("a", 2n);
    const running = it.run();
    await settle(500);
    expect(it.handled).toEqual([3n]);
    it.stop.abort();
    await running;
  });

  test("not opened yet: a new subscription reads nothing, says so, and starts with the first publish", async () => {
    const it = makeSubscription();
    it.database.publish("old");
    promote(it);
    const running = it.run();
    await it.clock.pass(5_000);
    expect(it.handled).toEqual([]);
    expect(it.retries[0]).toMatchObject({ code: "epoch_changed", retryable: true });
    openNext(it);
    await it.clock.pass(5_000);
    expect(it.handled).toEqual([2n ** 47n]);
    it.stop.abort();
    await running;
  });

  test("opened while it runs stops it: epoch_changed", async () => {
    const it = makeSubscription();
    it.database.publish("a");
    const outcome = outcomeOf(it.run());
    await settle(500);
    openNext(it);
    await it.clock.pass(2_000);
    expect(await outcome).toBe("epoch_changed");
    expect(it.handled).toEqual([1n]);
  });

  test("opened while it runs starts it over, when told to restart", async () => {
    const it = makeSubscription({ onEpochChange: "restart" });
    it.database.publish("a");
    const running = it.run();
    await settle(500);
    promote(it);
    await it.clock.pass(5_000);
    expect(it.handled).toEqual([1n]);
    openNext(it);
    await it.clock.pass(5_000);
    expect(it.handled).toEqual([1n, 2n ** 47n]);
    it.stop.abort();
    await running;
  });
});
