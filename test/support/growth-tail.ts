//! The shared tail on a connection whose work is counted. It polls when told to, and never by the clock.

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openClient } from "../../src/adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../../src/adapters/postgres/read/live-log.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { startCursor } from "../../src/core/read/start.ts";
import { SharedTail } from "../../src/core/tail/tail.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import type { WakeupFlag } from "../../src/core/wakeup-flag.ts";
import { silent } from "../../src/library/defaults.ts";
import type { GrowthBench } from "./growth-bench.ts";
import { type Meter, openMeter } from "./growth-meter.ts";
import { targetOf } from "./log-database.ts";

/** Wakes for hints alone, and says when whoever waits for them has nothing else to do. */
const makeGate = () => {
  let hinted = Promise.withResolvers<void>();
  let idle = Promise.withResolvers<void>();
  const flag: WakeupFlag = {
    raise: () => hinted.resolve(),
    clear: () => {
      hinted = Promise.withResolvers<void>();
    },
    wait: async (_ms, signal) => {
      idle.resolve();
      const stopped = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => stopped.resolve(), { once: true });
      if (!signal.aborted) await Promise.race([hinted.promise, stopped.promise]);
    },
  };
  const pass = async (): Promise<void> => {
    idle = Promise.withResolvers<void>();
    flag.raise();
    await idle.promise;
  };
  return { flag, pass };
};

export interface CountedTail extends AsyncDisposable {
  /** Reads until there is nothing more: at least one round. */
  readonly poll: () => Promise<void>;
  /** Events handed to the one member since the last call. */
  readonly handed: () => number;
  readonly take: Meter["take"];
}

/** With one member, who joins at the end of the log. */
export const openCountedTail = async (
  server: PostgresServer,
  bench: GrowthBench,
  topics: readonly string[],
): Promise<CountedTail> => {
  await using opening = new AsyncDisposableStack();
  const client = opening.use(
    openClient(targetOf(bench.url), { name: "tail", deadlineMs: 20_000, session: liveSession }),
  );
  const meter = opening.use(await openMeter(client, server.url(), new URL(bench.url).pathname.slice(1)));
  const log = makeLog(meter.client);
  const { newest } = await log.epoch();
  const cursor = await startCursor(log, newest, { kind: "latest" });
  const { flag, pass } = makeGate();
  const tail = new SharedTail(
    { log, live: makeLiveLog(meter.client), wakeups: flag, clock: makeClock(), logger: silent },
    { pageEventsMax: 5_000, pageBytesMax: 2 ** 22, lagEventsMax: 20_000, lagBytesMax: 2 ** 24, pauseMs: 0 },
  );
  const stopping = new AbortController();
  const running = tail.run(stopping.signal);
  opening.defer(async () => {
    stopping.abort();
    await running;
  });
  await pass();
  const filter = parseTopicPatterns(topics);
  const member = tail.join({ filter, epoch: newest, cursor, pollIntervalMs: 1_000, onNews: () => {} });
  if (member === null) throw new Error("the tail cannot be joined");
  const open = opening.move();
  let events = 0;
  // The tail reads when a member has nothing left.
  const drain = (): void => {
    for (let window = member.first(); window !== null; window = member.first()) {
      events += window.events.length;
      member.drop();
    }
    if (!member.isOpen()) throw new Error("the tail has put its member out");
  };
  return {
    poll: async () => {
      drain();
      await pass();
    },
    handed: () => {
      drain();
      const handed = events;
      events = 0;
      return handed;
    },
    take: meter.take,
    [Symbol.asyncDispose]: async () => await open.disposeAsync(),
  };
};
