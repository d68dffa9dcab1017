//! An application that consumes: it keeps its cursor in memory together with what it has handled.

import type { Event } from "../../src/core/event.ts";
import {
  openSubscription,
  type RunningSubscription,
  type SubscriptionOptions,
} from "../../src/library/subscription.ts";

export interface Subscriber extends AsyncDisposable {
  readonly subscription: RunningSubscription;
  /** Ids of the events handled, in the order of handling. */
  readonly ids: readonly bigint[];
  /** Their data, as text. */
  readonly json: readonly string[];
  readonly batches: () => number;
  readonly cursor: () => string | null;
}

export interface SubscriberOptions extends Partial<SubscriptionOptions> {
  readonly database: SubscriptionOptions["database"];
  /** Where it was when it was stopped last. */
  readonly since?: string | null;
  /** What it does with a batch before it has handled it; when it throws, it has not. */
  readonly work?: (events: readonly Event[], signal: AbortSignal) => Promise<void>;
}

export const subscribe = ({ since = null, work, ...options }: SubscriberOptions): Subscriber => {
  const ids: bigint[] = [];
  const json: string[] = [];
  let cursor = since;
  let batches = 0;
  const subscription = openSubscription({
    topics: [">"],
    pollIntervalMs: 100,
    ...options,
    cursor: async () => await Promise.resolve(cursor),
    handle: async (events, context) => {
      await work?.(events, context.signal);
      for (const event of events) {
        ids.push(event.id);
        json.push(event.json);
      }
      batches += 1;
      ({ cursor } = context);
    },
  });
  return {
    subscription,
    ids,
    json,
    batches: () => batches,
    cursor: () => cursor,
    [Symbol.asyncDispose]: subscription.stop,
  };
};
