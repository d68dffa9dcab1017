//! Readers of one process that share a tail: they join, lag, are put out, stop and go on. Their tail is woken by LISTEN, and
//! polls for what was published without a hint.

import { openClient } from "../../../src/adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../../../src/adapters/postgres/read/live-log.ts";
import { makeLog, readingSession } from "../../../src/adapters/postgres/read/log.ts";
import { keepListening } from "../../../src/adapters/postgres/wakeups.ts";
import { makeClock } from "../../../src/adapters/runtime/clock.ts";
import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { makeFollower } from "../../../src/core/tail/follower.ts";
import { SharedTail, type Tail } from "../../../src/core/tail/tail.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { makeWakeupFlag } from "../../../src/core/wakeup-flag.ts";
import { silent } from "../../../src/library/defaults.ts";
import { count, type Delivered } from "./history.ts";
import { type ReaderOptions, shipped, smallPages } from "./readers.ts";

const pollIntervalMs = 50;

const tailLimits = {
  shipped: {
    pageEventsMax: 5_000,
    pageBytesMax: 2 ** 22,
    lagEventsMax: 20_000,
    lagBytesMax: 2 ** 24,
    pauseMs: 100,
  },
  small: { pageEventsMax: 60, pageBytesMax: 8_000, lagEventsMax: 120, lagBytesMax: 16_000, pauseMs: 100 },
};

const runFollower = async (tail: Tail, isSlow: boolean, options: ReaderOptions): Promise<Delivered[]> => {
  const { target, history, random, isOver, pause, isSteady } = options;
  await using client = openClient(target, {
    name: "fault follower",
    deadlineMs: 20_000,
    session: readingSession,
  });
  const log = makeLog(client);
  const { newest } = await log.epoch();
  let cursor = await startCursor(log, newest, { kind: "earliest" });
  const delivered: Delivered[] = [];
  for (;;) {
    const wasOver = isOver();
    const follower = makeFollower({ log, tail, onNews: () => {} }, cursor, {
      filter: parseTopicPatterns([">"]),
      epoch: newest,
      ...(isSteady ? shipped : smallPages(random)),
      pollIntervalMs,
      onGap: () => {},
    });
    const life = isSteady ? Infinity : 1 + Math.floor(random() * 400);
    for (let batches = 0; batches < life; batches += 1) {
      const batch = await follower.next();
      if (batch === null) {
        // Together it may be quiet before the tail has looked: one that is alone knows.
        if (wasOver) {
          follower.leave();
          const alone = makeFollower({ log, tail: { join: () => null }, onNews: () => {} }, cursor, {
            filter: parseTopicPatterns([">"]),
            epoch: newest,
            ...shipped,
            pollIntervalMs,
            onGap: () => {},
          });
          for (let last = await alone.next(); last !== null; last = await alone.next()) {
            for (const event of last.events) delivered.push({ id: event.id, at: performance.now() });
          }
          return delivered;
        }
        if (isOver()) break;
        await pause(isSlow ? 60 : 10);
        continue;
      }
      const at = performance.now();
      for (const event of batch.events) delivered.push({ id: event.id, at });
      if (follower.isTogether()) count(history, "batch of the tail");
      cursor = decodeCursor(encodeCursor(batch.cursor));
      if (isSlow && random() < 0.02) await pause(300);
    }
    follower.leave();
    count(history, "follower restarted");
  }
};

/** One tail and those who follow it; the last one is slow. */
export const runTogether = async (followers: number, options: ReaderOptions): Promise<Delivered[][]> => {
  const { target, isSteady } = options;
  await using client = openClient(target, { name: "fault tail", deadlineMs: 20_000, session: liveSession });
  const clock = makeClock();
  const wakeups = makeWakeupFlag(clock);
  const ports = { log: makeLog(client), live: makeLiveLog(client), wakeups, clock, logger: silent };
  const tail = new SharedTail(ports, isSteady ? tailLimits.shipped : tailLimits.small);
  const stop = new AbortController();
  const running = tail.run(stop.signal);
  const listening = keepListening(
    {
      target,
      onHint: wakeups.raise,
      ports: { clock, logger: silent, random: options.random, pinger: client },
      options: { name: "fault tail", pingIntervalMs: 5_000, pingDeadlineMs: 5_000 },
    },
    stop.signal,
  );
  const slowest = followers === 1 ? -1 : followers - 1;
  const delivered = await Promise.all(
    Array.from({ length: followers }, async (_, n) => await runFollower(tail, n === slowest, options)),
  );
  stop.abort();
  await Promise.all([running, listening]);
  return delivered;
};
