//! From an earlier epoch into the newest, over a model of the log: what was left of it is handed over once, and nothing else.

import { describe, expect, test } from "bun:test";

import { encodeCursor } from "../../../src/core/cursor-codec.ts";
import { inWindow, isCrossing } from "../../../src/core/cursor.ts";
import type { TopicGap } from "../../../src/core/gap.ts";
import type { Epoch, Floor } from "../../../src/core/log.ts";
import { makeCrossing } from "../../../src/core/read/crossing.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { makeSnapshot } from "../../../src/core/snapshot.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { epochIds } from "./fake-log.ts";
import { makeSubscription } from "./fake-subscription.ts";
import { outcomeOf, settle } from "./fakes.ts";

const filter = parseTopicPatterns(["a", "b"]);
const firstIds = { second: 1_000n, third: 2_000n };

const noGap = (gap: readonly TopicGap[]): void => {
  throw new Error(`unexpected gap: ${Bun.inspect(gap)}`);
};

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

  const standAtStart = async ({ database, store }: ReturnType<typeof makeSubscription>): Promise<void> => {
    const start = await startCursor(database.log, database.newestEpoch(), { kind: "earliest" });
    store.cursor = encodeCursor(start);
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
      await standAtStart(it);
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
    await standAtStart(it);
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

  test("learns no topics of another server: yesterday's primary has other ones", async () => {
    const it = crossing();
    const { log } = it.database;
    const elsewhere: typeof log = {
      ...log,
      look: async (request) => {
        const look = await log.look(request);
        return {
          ...look,
          topics: [],
          epoch: { ...look.epoch, newest: { ...look.epoch.newest, id: epochIds.first } },
        };
      },
    };
    const { next } = await crossingOf(it, elsewhere);
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
    // Behind the last step it stands in the next epoch: with the last event, where there is one.
    expect(places).toEqual([10n, 20n, undefined]);
    expect(cursor().epoch).toBe(epochIds.second);
  });

  test("is told of what went between a page and its announcement, and gets none of it", async () => {
    const it = crossing();
    const read = Promise.withResolvers<void>();
    let isReading = false;
    const { log } = it.database;
    const { next, gaps } = await crossingOf(it, {
      ...log,
      nextPage: async (...request) => {
        isReading = true;
        const page = await log.nextPage(...request);
        if (it.database.purges.length === 0) it.database.purge("a", 3n);
        read.resolve();
        return page;
      },
      purgedTopics: async (...request) => {
        if (isReading) await read.promise;
        return await log.purgedTopics(...request);
      },
    });
    expect((await next())?.events.map(({ id }) => id)).toEqual([4n, 5n]);
    expect(gaps).toEqual([{ topic: "a", events: 3, exact: true }]);
  });

  test("is told of what went of the new epoch, though more of the earlier one went later", async () => {
    const it = crossing("skip");
    await standAtStart(it);
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

  test("is told of what went after its epoch, whatever the server counts as seen since", async () => {
    const it = crossing("skip");
    const xids = it.database.rows.map(({ xid }) => xid);
    const [xmax, running] = [(xids[4] ?? 0n) + 1n, xids.slice(2, 3)];
    const start = await startCursor(it.database.log, it.database.newestEpoch(), { kind: "earliest" });
    it.store.cursor = encodeCursor({ ...start, seen: makeSnapshot(xmax, running) });
    fail(it);
    it.database.purge("a", 5n);
    const [purge] = it.database.purges.splice(0);
    if (purge === undefined) throw new Error("no purge");
    it.database.purges.push({ ...purge, floor: makeSnapshot(purge.floor.xmax, running) });
    const subscription = it.run();
    await settle(1_000);
    expect(it.gaps).toEqual([{ topic: "a", events: 5, exact: false }]);
    it.stop.abort();
    await subscription;
  });

  test("is told of what is gone where nothing is left beside it", async () => {
    const it = crossing("skip");
    await standAtStart(it);
    fail(it);
    it.database.purge("a", 5n);
    const running = it.run();
    await settle(1_000);
    expect(it.handled).toEqual([1_000n, 1_001n, 1_002n]);
    expect(it.gaps).toEqual([{ topic: "a", events: 5, exact: true }]);
    it.stop.abort();
    await running;
  });

  test("stores that it is across: what goes of the earlier epoch later is no gap", async () => {
    const it = makeSubscription({ onEpochChange: "cross", filter });
    for (let n = 0; n < 5; n += 1) it.database.publish("a");
    await standAtStart(it);
    it.database.publish("unwanted");
    it.database.stepEvents = () => 5;
    it.database.openEpoch(epochIds.second, firstIds.second);
    const running = it.run();
    await settle(1_000);
    expect(it.handled).toHaveLength(5);
    it.stop.abort();
    await running;
    it.database.purge("a", 6n);
    it.database.publish("a");
    const again = makeSubscription({ onEpochChange: "cross" }, {}, it.database);
    again.store.cursor = it.store.cursor;
    const second = again.run();
    await settle(1_000);
    expect(again.handled).toEqual([1_000n]);
    again.stop.abort();
    await second;
  });

  test("in the middle of a window takes nothing of the new epoch into it, whose xids may be those of transactions that were lost", async () => {
    const { database } = makeSubscription();
    const epoch = database.newestEpoch();
    for (let n = 0; n < 6; n += 1) database.publish("a");
    const start = await startCursor(database.log, epoch, { kind: "earliest" });
    // It had seen transactions that the new server never had.
    const until = makeSnapshot(database.current().xmax + 3n, []);
    const cursor = inWindow(start, until, 3n);
    database.openEpoch(epochIds.second, 7n);
    for (let n = 0; n < 3; n += 1) database.publish("a");
    const path = await database.log.epochsSince(epoch.id);
    const options = { filter, pageEventsMax: 4, pageBytesMax: 1_000, batchEventsMax: 2, onGap: noGap };
    const { log } = database;
    const made = makeCrossing(
      {
        ...log,
        // Late commits that lie far apart are found by xid alone, wherever they are.
        nextPage: async (request, end) => {
          const { rows } = await log.nextPage(request, { ...end, main: database.lastId });
          return { rows, more: rows.length > 0 };
        },
      },
      cursor,
      path,
      options,
    );
    const ids: bigint[] = [];
    for (let batch = await made.next(); batch !== null; batch = await made.next()) {
      ids.push(...batch.events.map(({ id }) => id));
    }
    expect(ids).toEqual([4n, 5n, 6n]);
  });

  test("may be stopped on its way, and goes on from there", async () => {
    const it = crossing();
    await standAtStart(it);
    fail(it);
    const { before } = it.database;
    it.database.before = (call) => {
      if (it.handled.length > 0) it.stop.abort();
      return before(call);
    };
    await it.run();
    const again = makeSubscription({ onEpochChange: "cross" }, {}, it.database);
    again.store.cursor = it.store.cursor;
    const running = again.run();
    await settle(1_000);
    expect(it.handled.length).toBeLessThan(5);
    expect([...it.handled, ...again.handled]).toEqual([1n, 2n, 3n, 4n, 5n, 1_000n, 1_001n, 1_002n]);
    again.stop.abort();
    await running;
  });

  test("from an id of an earlier epoch, begins there", async () => {
    const all = [1n, 2n, 3n, 4n, 5n, 1_000n, 1_001n, 1_002n, 2_000n];
    for (const id of [0n, 4n, 1_000n, 1_001n, 1_500n, 2_000n]) {
      const it = makeSubscription({ onEpochChange: "cross", from: { kind: "id", id } });
      for (let n = 0; n < 5; n += 1) it.database.publish("a");
      fail(it);
      it.database.openEpoch(epochIds.third, firstIds.third);
      it.database.publish("a");
      const running = it.run();
      await settle(800);
      expect([id, it.handled]).toEqual([id, all.filter((it) => it >= id)]);
      it.stop.abort();
      await running;
    }
  });

  test("from the earliest event, begins behind what retention has emptied last, in whichever epoch that was", async () => {
    const all = [1n, 2n, 3n, 4n, 5n, 1_000n, 1_001n, 1_002n, 2_000n, 2_001n];
    for (const emptied of [
      [],
      [3n],
      [3n, 1_000n],
      [null, 1_000n],
      [3n, 1_000n, 2_000n],
      [null, null, 2_000n],
    ]) {
      const it = crossing();
      fail(it);
      it.database.openEpoch(epochIds.third, firstIds.third);
      for (let n = 0; n < 2; n += 1) it.database.publish("a");
      const floorOf = async ({ number }: Epoch): Promise<Floor> => {
        await Promise.resolve();
        const lastId = emptied[number - 1] ?? null;
        const snapshot = makeSnapshot((it.database.rows.find(({ id }) => id === lastId)?.xid ?? 0n) + 1n, []);
        return { segments: lastId === null ? null : { snapshot, lastId }, purge: 0n };
      };
      Object.assign(it.database.log.starts, { floor: floorOf });
      const running = it.run();
      await settle(800);
      expect([emptied, it.handled]).toEqual([emptied, all.filter((id) => id > (emptied.at(-1) ?? 0n))]);
      it.stop.abort();
      await running;
    }
  });
});
