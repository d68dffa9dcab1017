//! A subscription over the fake log, with a store of one cursor.

import { PgstreamError } from "../../../src/core/errors.ts";
import type { TopicGap } from "../../../src/core/gap.ts";
import type { EventHandler } from "../../../src/core/subscribe/event-handler.ts";
import {
  runSubscription,
  type SubscribeOptions,
  type SubscribePorts,
} from "../../../src/core/subscribe/subscribe.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import type { WakeupFlag } from "../../../src/core/wakeup-flag.ts";
import { noTail } from "../../support/no-tail.ts";
import { makeFakeLog } from "./fake-log.ts";
import { makeFakeClock, makeFakeLogger } from "./fakes.ts";

export const retryable = (): PgstreamError =>
  new PgstreamError("database_unavailable", "the connection broke", { retryable: true });

export const makeSubscription = (
  options: Partial<SubscribeOptions> = {},
  handler: Partial<EventHandler> = {},
  ports: Partial<SubscribePorts> = {},
) => {
  const database = makeFakeLog();
  const clock = makeFakeClock();
  const stop = new AbortController();
  const handled: bigint[] = [];
  const retries: unknown[] = [];
  const gaps: TopicGap[] = [];
  const advanced: string[] = [];
  const told: string[] = [];
  const store: { cursor: string | null; asked: number } = { cursor: null, asked: 0 };
  const logger = makeFakeLogger();
  let lives = 0;
  let hint = Promise.withResolvers<void>();
  const wakeups: WakeupFlag = {
    raise: () => hint.resolve(),
    clear: () => {
      hint = Promise.withResolvers<void>();
    },
    wait: async (ms, signal) => {
      const done = new AbortController();
      await Promise.race([hint.promise, clock.sleep(ms, AbortSignal.any([signal, done.signal]))]);
      done.abort();
    },
  };
  const own: EventHandler = {
    cursor: async () => {
      await Promise.resolve();
      store.asked += 1;
      return store.cursor;
    },
    handle: async (events, { cursor }) => {
      await Promise.resolve();
      handled.push(...events.map((event) => event.id));
      store.cursor = cursor;
    },
    advance: async (cursor) => {
      await Promise.resolve();
      advanced.push(cursor);
      store.cursor = cursor;
    },
    ...handler,
  };
  const run = (): Promise<void> =>
    runSubscription(
      {
        handler: own,
        options: {
          filter: parseTopicPatterns([">"]),
          from: { kind: "earliest" },
          pollIntervalMs: 1_000,
          batchEventsMax: 2,
          pageEventsMax: 4,
          pageBytesMax: 1_000,
          onPurged: "stop",
          onEpochChange: "stop",
          handlerRetriesMax: 3,
          backoff: { delayMsMin: 10, delayMsMax: 100 },
          advanceIntervalMs: 5_000,
          ...options,
        },
        ports: {
          log: database.log,
          tail: noTail,
          wakeups,
          clock,
          random: () => 0.5,
          logger,
          ...ports,
        },
        events: {
          onLive: () => {
            lives += 1;
            told.push("live");
          },
          onHandle: () => told.push("in hand"),
          onBatch: (events) => told.push(`done: ${events.map(({ id }) => id).join(", ")}`),
          onRetry: (error) => retries.push(error),
          onGap: (gap) => gaps.push(...gap),
        },
      },
      stop.signal,
    );
  return {
    database,
    clock,
    stop,
    handled,
    retries,
    gaps,
    advanced,
    told,
    logger,
    store,
    run,
    lives: () => lives,
    raise: () => hint.resolve(),
  };
};
