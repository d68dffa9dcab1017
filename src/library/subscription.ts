//! A subscription for any application: `openSubscription({ database, topics, handle, cursor })`, or with a store that
//! keeps cursor and receipts.

import { openClient } from "../adapters/postgres/client.ts";
import { makeLog, readingSession } from "../adapters/postgres/read/log.ts";
import { decodeCursor } from "../core/cursor-codec.ts";
import { messageOf } from "../core/errors.ts";
import type { Event } from "../core/event.ts";
import type { From } from "../core/read/start.ts";
import type { Held } from "../core/subscribe/standby.ts";
import { runWithLease } from "../core/subscribe/standby.ts";
import type { ConsumerStore, DocumentWrite, Lease } from "../core/subscribe/store.ts";
import {
  type EventHandler,
  type HandleContext,
  runSubscription,
  type SubscribeOptions,
  type SubscribePorts,
} from "../core/subscribe/subscribe.ts";
import { parseTopicPatterns } from "../core/topic.ts";
import { makeWakeupFlag } from "../core/wakeup-flag.ts";
import { backoffDefault, type ConnectOptions, connectDefaults, serverTimeout } from "./defaults.ts";
import { takeTail } from "./shared-tails.ts";
import { makeSubscriptionStatus, type SubscriptionStatus } from "./subscription-status.ts";

/** The application keeps its cursor itself, best together with its effect. */
export type OwnCursor = EventHandler;

/** The store keeps cursor and receipts; a second process on the same store stands by. */
export interface StoredCursor {
  readonly store: ConsumerStore;
  /** What the cursor is kept under. */
  readonly subscription: string;
  /** How long a silent process keeps others standing by. Default 10,000 ms. */
  readonly leaseTtlMs?: number;
  /** As {@link EventHandler.handle}; the documents it answers are committed together with the receipts and the cursor. */
  readonly handle: (
    events: readonly Event[],
    context: HandleContext,
  ) => Promise<readonly DocumentWrite[] | void>;
}

export interface SubscriptionOptions
  extends ConnectOptions, Partial<Omit<SubscribeOptions, "filter" | "from" | "backoff">> {
  /** Names, or patterns: `courses.*` is one level, `>` everything below. */
  readonly topics: readonly string[];
  /** Where to start when there is no cursor yet. Default earliest. */
  readonly from?: "earliest" | "latest" | From | { readonly cursor: string };
  /** `poll` behind a pooler, which LISTEN does not pass. Default listen. */
  readonly wakeups?: "listen" | "poll";
}

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

const fromOf = (from: SubscriptionOptions["from"]): From => {
  if (from === undefined) return { kind: "earliest" };
  if (typeof from === "string") return { kind: from };
  return "kind" in from ? from : { kind: "cursor", cursor: decodeCursor(from.cursor) };
};

/** The two halves of the contract, kept in a store under a lease. */
const storedHandler = ({ store, subscription, handle }: StoredCursor, lease: Lease): EventHandler => ({
  cursor: async () => await store.cursor(subscription),
  handle: async (events, context) => {
    const writes = (await handle(events, context)) ?? [];
    const receipts = events.map(({ id, topic, type }) => ({ eventId: id, topic, type }));
    await store.commit(lease, { writes, receipts, cursor: context.cursor });
  },
  advance: async (cursor) => {
    await store.commit(lease, { writes: [], receipts: [], cursor });
  },
});

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
 * @throws PgstreamError `invalid_topic`, `invalid_cursor`
 */
export const openSubscription = (
  options: SubscriptionOptions & (OwnCursor | StoredCursor),
): RunningSubscription => {
  const { target, name, deadlineMs, logger, clock } = connectDefaults(options, "subscription");
  const subscribe: SubscribeOptions = {
    ...defaults,
    ...options,
    filter: parseTopicPatterns(options.topics),
    from: fromOf(options.from),
  };
  const listens = options.wakeups !== "poll";
  const stopped = new AbortController();
  const session = { ...readingSession, statement_timeout: serverTimeout(deadlineMs) };
  const client = openClient(target, { name, deadlineMs, ownConnection: listens, session });
  // A read that is on its way could keep us waiting until its deadline.
  stopped.signal.addEventListener("abort", () => void client.end(), { once: true });
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

  const runWith = async (handler: EventHandler, signal: AbortSignal): Promise<void> => {
    await runSubscription(
      { handler: takingTurns(handler), options: subscribe, ports, events: status },
      signal,
    );
  };
  const run = async (): Promise<void> => {
    if (!("store" in options)) {
      await runWith(options, stopped.signal);
      return;
    }
    const held: Held = async (lease, signal) => await runWith(storedHandler(options, lease), signal);
    const standby = { subscription: options.subscription, ttlMs: options.leaseTtlMs ?? 10_000 };
    await runWithLease(
      held,
      { store: options.store, clock, logger, onState: status.onLease },
      standby,
      stopped.signal,
    );
  };
  const live = async (): Promise<void> => {
    try {
      await run();
      status.onEnd(null);
    } catch (error) {
      status.onEnd(messageOf(error));
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
