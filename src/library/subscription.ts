//! A subscription for any application: `openSubscription({ database, topics, handle, cursor })`, or with a store that
//! keeps cursor and receipts.

import { openClient } from "../adapters/postgres/client.ts";
import { makeLog, readingSession } from "../adapters/postgres/read/log.ts";
import type { EventHandler } from "../core/subscribe/event-handler.ts";
import { runSubscription, type SubscribeOptions, type SubscribePorts } from "../core/subscribe/subscribe.ts";
import { parseTopicPatterns } from "../core/topic.ts";
import { makeWakeupFlag } from "../core/wakeup-flag.ts";
import { backoffDefault, connectDefaults, serverTimeout } from "./defaults.ts";
import { overDefaults } from "./given-options.ts";
import { takeTail } from "./shared-tails.ts";
import { runStored, type StoredCursor } from "./stored-cursor.ts";
import { checkOptions, fromOf, type OwnCursor, type SubscriptionOptions } from "./subscription-options.ts";
import { makeSubscriptionStatus, type SubscriptionStatus } from "./subscription-status.ts";

export { PgstreamError } from "../core/errors.ts";
export type { Event } from "../core/event.ts";
export type { StoredCursor } from "./stored-cursor.ts";
export type { OwnCursor, SubscriptionOptions } from "./subscription-options.ts";

export interface RunningSubscription extends AsyncDisposable {
  readonly status: () => SubscriptionStatus;
  /**
   * Resolves when it was stopped; rejects when it stopped by itself, with the reason. Where nobody has asked for it by then, that is an
   * unhandled rejection, which ends the process: better than to look healthy and consume nothing.
   */
  readonly done: Promise<void>;
  /** The batch in hand finishes, nothing else starts. Safe to call twice; never rejects. */
  readonly stop: () => Promise<void>;
}

const defaults = {
  pollIntervalMs: 1_000,
  batchEventsMax: 2_500,
  // Three times as many, two pages of them read ahead, are what a subscriber holds.
  pageEventsMax: 10_000,
  pageBytesMax: 8 * 2 ** 20,
  onPurged: "stop",
  onEpochChange: "stop",
  handlerRetriesMax: 5,
  advanceIntervalMs: 5_000,
  backoff: backoffDefault,
} as const;

/**
 * Ends each batch with a turn of the event loop. A handler or a store that never waits, as SQLite never does, would keep
 * signals, the lease's timer and the health check waiting until a whole page had been handled.
 */
const takingTurns = (handler: EventHandler): EventHandler => ({
  cursor: async () => await handler.cursor(),
  handle: async (events, context) => {
    await handler.handle(events, context);
    const { promise, resolve } = Promise.withResolvers<void>();
    setImmediate(resolve);
    await promise;
  },
  ...(handler.advance !== undefined && {
    advance: async (cursor, signal) => await handler.advance?.(cursor, signal),
  }),
});

/**
 * Starts a subscription and hands it back at once; it connects, and reconnects, for as long as it takes.
 * @throws PgstreamError `invalid_config`, `invalid_topic`, `invalid_cursor`
 */
export const openSubscription = (
  options: SubscriptionOptions & (OwnCursor | StoredCursor),
): RunningSubscription => {
  const { target, name, deadlineMs, logger, clock } = connectDefaults(options, "subscription");
  checkOptions(options);
  const subscribe: SubscribeOptions = {
    ...overDefaults(defaults, options),
    filter: parseTopicPatterns(options.topics),
    from: fromOf(options.from),
  };
  const listens = options.wakeups !== "poll";
  const stopped = new AbortController();
  const session = { ...readingSession, statement_timeout: serverTimeout(deadlineMs) };
  const { signal } = stopped;
  const client = openClient(target, { name, deadlineMs, ownConnection: listens, session, signal });
  const flag = makeWakeupFlag(clock);
  const status = makeSubscriptionStatus();
  const shared = takeTail({ target, listens, deadlineMs, clock, logger }, flag.raise);
  const ports: SubscribePorts = {
    log: makeLog(client, !listens),
    tail: shared.tail,
    wakeups: flag,
    clock,
    random: Math.random,
    logger,
  };

  const runWith = async (handler: EventHandler, until: AbortSignal): Promise<void> => {
    await runSubscription(
      { handler: takingTurns(handler), options: subscribe, ports, events: status },
      until,
    );
  };
  const run = async (): Promise<void> => {
    if (!("store" in options)) {
      await runWith(options, signal);
      return;
    }
    await runStored(options, { client, clock, logger, onState: status.onLease, runWith }, signal);
  };
  const live = async (): Promise<void> => {
    try {
      await run();
      status.onEnd(null);
    } catch (error) {
      status.onEnd({ error });
      throw error;
    } finally {
      stopped.abort();
      await shared.release();
      await client.end();
    }
  };
  const done = live();
  const stop = async (): Promise<void> => {
    stopped.abort();
    // Whoever stops it need not be the one who asks why it ended.
    await done.catch(() => {});
  };
  return { status: status.get, done, stop, [Symbol.asyncDispose]: stop };
};
