//! Runs a subscription: read, handle, again, until there is nothing more; then wait for a hint or the poll interval.
//!
//! One batch at a time, in order. A lost connection is retried for ever; a handler that keeps failing stops the
//! subscription visibly, with the cursor in front of what it failed on.

import { backoffMs, type Backoff } from "../backoff.ts";
import type { Cursor } from "../cursor.ts";
import { hasCode, isRetryable, messageOf, PgstreamError } from "../errors.ts";
import type { Event } from "../event.ts";
import { describeGap, type TopicGap } from "../gap.ts";
import type { Epoch, Log } from "../log.ts";
import type { Clock, Logger } from "../ports.ts";
import { makeCrossing } from "../read/crossing.ts";
import type { Batch } from "../read/reader.ts";
import { findCursor, type OnEpochChange } from "../read/resume.ts";
import type { From } from "../read/start.ts";
import { type Follower, makeFollower } from "../tail/follower.ts";
import type { Tail } from "../tail/tail.ts";
import type { TopicFilter } from "../topic.ts";
import type { WakeupFlag } from "../wakeup-flag.ts";
import { advance, contextOf, type EventHandler, type HandleContext, storedCursor } from "./event-handler.ts";

export interface SubscribeOptions {
  readonly filter: TopicFilter;
  readonly from: From;
  readonly pollIntervalMs: number;
  readonly batchEventsMax: number;
  readonly pageEventsMax: number;
  readonly pageBytesMax: number;
  /** `stop`: end with `events_purged`; `skip`: report the gap and go on behind it. */
  readonly onPurged: "stop" | "skip";
  readonly onEpochChange: OnEpochChange;
  readonly handlerRetriesMax: number;
  readonly backoff: Backoff;
  readonly advanceIntervalMs: number;
}

export interface SubscribePorts {
  readonly log: Log;
  readonly tail: Tail;
  readonly wakeups: WakeupFlag;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** What a subscription tells of itself while it runs. */
export interface SubscriptionEvents {
  /** Nothing is left to read, for now. */
  readonly onLive: () => void;
  /** A batch goes to the handler. */
  readonly onHandle: () => void;
  /** A batch is done. */
  readonly onBatch: (events: readonly Event[], context: Pick<HandleContext, "cursor">) => void;
  /** Something failed and is tried again. */
  readonly onRetry: (error: unknown) => void;
  readonly onGap: (gap: readonly TopicGap[]) => void;
}

export interface Subscription {
  readonly handler: EventHandler;
  readonly options: SubscribeOptions;
  readonly ports: SubscribePorts;
  readonly events: SubscriptionEvents;
}

/** Hands a batch to the handler until it is done. Gives up after `handlerRetriesMax`, or when told to stop. */
const deliver = async (batch: Batch, subscription: Subscription, signal: AbortSignal): Promise<boolean> => {
  const { handler, options, ports, events } = subscription;
  const context = contextOf(batch.cursor, signal);
  events.onHandle();
  for (let attempt = 0, failures = 0; !signal.aborted; attempt += 1) {
    try {
      // What failed may have been stored all the same, and only the answer was lost.
      const isDone = attempt > 0 && (await storedCursor(handler)) === context.cursor;
      if (!isDone) await handler.handle(batch.events, context);
      events.onBatch(batch.events, context);
      return true;
    } catch (cause) {
      if (hasCode(cause, "lease_lost")) throw cause;
      // Who gives up because it was told to has not failed.
      if (signal.aborted) return false;
      if (!isRetryable(cause)) failures += 1;
      if (failures > options.handlerRetriesMax) {
        throw new PgstreamError(
          "handler_failed",
          `the handler failed ${failures} times on events ${batch.events[0]?.id} to ${batch.events.at(-1)?.id}: ${messageOf(cause)}`,
          { cause },
        );
      }
      events.onRetry(cause);
      ports.logger.warn(
        { attempt, error: messageOf(cause), firstId: batch.events[0]?.id },
        "the handler failed; the batch comes again",
      );
      await ports.clock.sleep(backoffMs(attempt, options.backoff, ports.random), signal);
    }
  }
  return false;
};

/** Delivers each batch, and of those without events tells now and then how far they got. False: it was stopped. */
const makeHandOver = (subscription: Subscription, signal: AbortSignal) => {
  const { handler, options, ports } = subscription;
  let toldAt = ports.clock.now();
  return async (batch: Batch): Promise<boolean> => {
    if (batch.events.length > 0) {
      if (!(await deliver(batch, subscription, signal))) return false;
    } else {
      if (ports.clock.now() - toldAt < options.advanceIntervalMs) return true;
      await advance(handler, batch.cursor, signal);
    }
    toldAt = ports.clock.now();
    return true;
  };
};

/** Reports what retention removed, or stops for it. */
const gapReporter =
  ({ options, ports, events }: Subscription) =>
  (gap: readonly TopicGap[]): void => {
    if (options.onPurged === "stop") {
      throw new PgstreamError(
        "events_purged",
        `retention removed events before they were read: ${describeGap(gap)}; go on behind them with ON_PURGED=skip (onPurged)`,
        { details: { gap } },
      );
    }
    ports.logger.warn({ gap: describeGap(gap) }, "retention removed events before they were read");
    events.onGap(gap);
  };

/** What one connected stretch leaves to the next. */
interface Stretch {
  /** Where it started, while nothing may have been stored. */
  started: Cursor | null;
  readonly onProgress: () => void;
}

/** Hands over what is left of earlier epochs. Answers where the newest begins, null when it was stopped before. */
const cross = async (
  start: Cursor,
  path: readonly Epoch[],
  subscription: Subscription,
  { stretch, signal }: { readonly stretch: Stretch; readonly signal: AbortSignal },
): Promise<Cursor | null> => {
  const { options, ports } = subscription;
  const crossing = makeCrossing(ports.log, start, path, {
    ...options,
    onGap: gapReporter(subscription),
  });
  const handOver = makeHandOver(subscription, signal);
  let events = 0;
  while (!signal.aborted) {
    const batch = await crossing.next();
    stretch.onProgress();
    if (batch === null) {
      ports.logger.info({ events, epoch: path.at(-1)?.id }, "crossed into the newest epoch");
      return crossing.cursor();
    }
    if (!(await handOver(batch))) return null;
    events += batch.events.length;
  }
  return null;
};

/** One connected stretch: from the stored cursor on, until the signal aborts or something fails. */
const follow = async (subscription: Subscription, stretch: Stretch, signal: AbortSignal): Promise<void> => {
  const { handler, options, ports } = subscription;
  const known = { stored: await storedCursor(handler), started: stretch.started };
  const { epoch, cursor: place, isPassing, path } = await findCursor(ports.log, known, options, ports.logger);
  const cursor = path.length > 1 ? await cross(place, path, subscription, { stretch, signal }) : place;
  if (cursor === null) return;
  // Else one that nothing has happened to yet would start later after a lost connection, or a restart.
  if (isPassing) stretch.started = cursor;
  if (isPassing || path.length > 1) await advance(handler, cursor, signal);
  const follower = makeFollower({ ...ports, onNews: ports.wakeups.raise }, cursor, {
    ...options,
    epoch,
    onGap: gapReporter(subscription),
  });
  try {
    await deliverAll(follower, subscription, signal, stretch.onProgress);
  } finally {
    follower.leave();
  }
};

const deliverAll = async (
  follower: Follower,
  subscription: Subscription,
  signal: AbortSignal,
  onProgress: () => void,
): Promise<void> => {
  const { options, ports, events } = subscription;
  const handOver = makeHandOver(subscription, signal);
  while (!signal.aborted) {
    ports.wakeups.clear();
    const batch = await follower.next();
    onProgress();
    if (batch === null) {
      events.onLive();
      await ports.wakeups.wait(options.pollIntervalMs, signal);
    } else if (!(await handOver(batch))) return;
  }
};

/**
 * Runs until the signal aborts; then resolves when the batch in hand is done, and nothing else has been started.
 * @throws PgstreamError `handler_failed`, `events_purged`, `epoch_changed`, `unknown_epoch`, `database_went_back`,
 * `invalid_cursor`, `lease_lost`, and whatever else waiting cannot mend
 */
export const runSubscription = async (subscription: Subscription, signal: AbortSignal): Promise<void> => {
  const { options, ports, events } = subscription;
  let attempt = 0;
  const stretch: Stretch = {
    started: null,
    onProgress: () => {
      attempt = 0;
    },
  };
  while (!signal.aborted) {
    try {
      await follow(subscription, stretch, signal);
    } catch (error) {
      // Stopping cuts off a read that is on its way.
      if (signal.aborted && hasCode(error, "database_unavailable")) return;
      // Noticed while reading: where to go on is found as after any other reconnect.
      const goesOn = options.onEpochChange !== "stop" && hasCode(error, "epoch_changed");
      if (!goesOn && !isRetryable(error)) throw error;
      events.onRetry(error);
      ports.logger.warn({ attempt, error: messageOf(error) }, "reading failed; trying again");
      await ports.clock.sleep(backoffMs(attempt, options.backoff, ports.random), signal);
      attempt += 1;
    }
  }
};
