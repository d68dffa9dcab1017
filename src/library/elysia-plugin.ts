//! Mounts a subscription into any Elysia application: it starts and stops with the application's server.
//!
//! ```ts
//! const stream = subscriptionPlugin({ database, topics: ["courses"], handle, cursor });
//! new Elysia().use(stream.plugin).listen(3000);
//! ```

import { Elysia } from "elysia";

import type { SubscriptionStatus } from "./subscription-status.ts";
import {
  openSubscription,
  type OwnCursor,
  type RunningSubscription,
  type StoredCursor,
  type SubscriptionOptions,
} from "./subscription.ts";

export interface MountedSubscription {
  readonly status: () => SubscriptionStatus | null;
  /** Called by the application's server; safe to call twice. Once stopped it stays stopped: to listen again takes a new plugin. */
  readonly start: () => RunningSubscription;
  readonly stop: () => Promise<void>;
}

/**
 * @param onFailure told when the subscription stopped by itself. By default the process ends: an application that looks
 * healthy while it consumes nothing is worse than one that restarts.
 */
export const subscriptionPlugin = (
  options: SubscriptionOptions & (OwnCursor | StoredCursor),
  onFailure: (error: unknown) => void = (error) => {
    throw error;
  },
) => {
  let running: RunningSubscription | null = null;
  const start = (): RunningSubscription => {
    if (running !== null) return running;
    const started = openSubscription(options);
    running = started;
    started.done.catch(onFailure);
    return started;
  };
  const stop = async (): Promise<void> => {
    await running?.stop();
  };
  const subscription: MountedSubscription = { status: () => running?.status() ?? null, start, stop };
  // Elysia leaves out a plugin that it takes for one it has: two subscriptions of the same topics are two all the same.
  const plugin = new Elysia({ name: "pgstream-subscription", seed: crypto.randomUUID() })
    .decorate("subscription", subscription)
    .onStart(() => {
      start();
    })
    .onStop(stop);
  return { plugin, ...subscription };
};
