//! Subscriptions of the library, as applications open them, each with a cursor of its own. None of them polls: they are
//! woken by the hints behind the publishers' batches, and by nothing else.

import type postgres from "postgres";

import { subscribe } from "../subscriber.ts";
import { waitFor } from "../wait-for.ts";
import { count, type Delivered, type History } from "./history.ts";
import type { ReaderOptions } from "./readers.ts";

const tooLateMs = 3_600_000;
/** How long it may take, after the last hint, until everything has come. What has not come by then is lost. */
const drainMs = 20_000;

export interface SubscriptionRun extends ReaderOptions {
  /** When it is opened anew no more. */
  readonly isEnding: () => boolean;
  /** What it has handled so far. */
  readonly delivered: Delivered[];
}

/** Handles until it is over and everything has come. */
export const runSubscription = async (options: SubscriptionRun): Promise<Delivered[]> => {
  const { target, history, random, isEnding, isOver, pause, isSteady, delivered } = options;
  let drainedBy = Infinity;
  const isDrained = (): boolean => {
    if (!isOver()) return false;
    drainedBy = Math.min(drainedBy, performance.now() + drainMs);
    return delivered.length >= history.committed.size || performance.now() > drainedBy;
  };
  // Not too small: whoever lags when all others are done keeps them waiting.
  const small = () => ({
    batchEventsMax: 20 + Math.floor(random() * 60),
    pageEventsMax: 50 + Math.floor(random() * 300),
  });
  for (let since: string | null = null; ;) {
    await using subscriber = subscribe({
      database: target,
      name: "fault subscription",
      pollIntervalMs: tooLateMs,
      since,
      ...(isSteady ? {} : small()),
      work: async (events) => {
        // At times it is busy while the next hints come.
        if (!isSteady && random() < 0.05) await pause(100);
        const at = performance.now();
        for (const { id } of events) delivered.push({ id, at });
      },
    });
    const life = isSteady ? Infinity : 1 + Math.floor(random() * 40);
    const live = async (): Promise<void> => {
      while (!isDrained() && (isEnding() || subscriber.batches() < life)) await pause(20);
    };
    // Rejects with the reason, should it end by itself.
    await Promise.race([live(), subscriber.subscription.done]);
    if (isDrained()) return delivered;
    await subscriber.subscription.stop();
    since = subscriber.cursor();
    count(history, "subscription restarted");
  }
};

/**
 * Until all of them wait for a hint: whatever comes then has to bring its own. They may be waiting in vain; then what
 * they lack is lost, and that is for others to say.
 */
export const untilAtRest = async (
  sql: postgres.Sql,
  history: History,
  handled: readonly (readonly Delivered[])[],
): Promise<void> => {
  const areAtRest = async (): Promise<boolean> => {
    const { count: listening } = await sql`
      select from pg_stat_activity
      where application_name = 'pgstream tail listener' and datname = current_database() and state = 'idle'`;
    return listening > 0 && handled.every(({ length }) => length >= history.committed.size);
  };
  await waitFor(areAtRest, { what: "all subscriptions to have all", deadlineMs: drainMs }).catch(() => {});
};
