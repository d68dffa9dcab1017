//! A shared tail over the fake log, and whoever follows it.

import type { Cursor } from "../../../src/core/cursor.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { type Follower, makeFollower } from "../../../src/core/tail/follower.ts";
import { SharedTail } from "../../../src/core/tail/tail.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { makeWakeupFlag } from "../../../src/core/wakeup-flag.ts";
import type { FakeLog } from "./fake-log.ts";
import { makeFakeClock, makeFakeLogger } from "./fakes.ts";
import type { TailPlant } from "./planted.ts";

export const limits = {
  pageEventsMax: 5,
  pageBytesMax: 1_000,
  lagEventsMax: 20,
  lagBytesMax: 2_000,
  pauseMs: 1_000,
};

export const turn = async (): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  await promise;
};

/** A tail that runs until it is disposed of, and whoever follows it. */
export const openTail = (database: FakeLog, options: Partial<typeof limits> = {}, plant: TailPlant = {}) => {
  const clock = makeFakeClock();
  const wakeups = makeWakeupFlag(clock);
  const stop = new AbortController();
  const live = plant.live?.(database.live) ?? database.live;
  const ports = { log: database.log, live, wakeups, clock, logger: makeFakeLogger() };
  const shared = new SharedTail(ports, { ...limits, ...options });
  const tail = plant.tail?.(shared) ?? shared;
  const running = shared.run(stop.signal);
  const follow = (
    cursor: Cursor,
    pattern = ">",
    batchEventsMax = 3,
    onNews: () => void = () => {},
  ): Follower =>
    makeFollower({ log: database.log, tail, onNews }, cursor, {
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

export const earliest = async (database: FakeLog): Promise<Cursor> =>
  await startCursor(database.log, database.newestEpoch(), { kind: "earliest" });

export const drain = async (follower: Follower): Promise<bigint[]> => {
  const ids: bigint[] = [];
  for (let batch = await follower.next(); batch !== null; batch = await follower.next()) {
    ids.push(...batch.events.map((event) => event.id));
  }
  return ids;
};
