//! What a subscription tells of itself.

import { type ErrorCode, messageOf, PgstreamError } from "../core/errors.ts";
import { describeGap } from "../core/gap.ts";
import type { SubscriptionEvents } from "../core/subscribe/subscribe.ts";

export interface SubscriptionStatus {
  /**
   * `live`: everything there is has been handled; `reading`: there is more, or a batch is being handled; `standby`: another process holds the lease;
   * `retrying`: something outside fails and is tried again; `failed`: it stopped by itself, see `reason`.
   */
  readonly state: "starting" | "standby" | "reading" | "live" | "retrying" | "stopped" | "failed";
  /** Why, when the state is `retrying` or `failed`. */
  readonly reason: string | null;
  /** The same for a program: what the application's own errors stand for is `handler_failed`. */
  readonly code: ErrorCode | null;
  readonly handledEvents: number;
  readonly lastId: bigint | null;
  /** How long before the last batch was handled its newest event had been published, by two clocks. */
  readonly lagMs: number | null;
  /** For how long the handler has had the batch in hand; null when it has none. */
  readonly handlingMs: number | null;
  readonly cursor: string | null;
  /** What retention removed before it was read, the last time it happened. */
  readonly gap: string | null;
}

export interface SubscriptionTracker extends SubscriptionEvents {
  readonly get: () => SubscriptionStatus;
  readonly onLease: (state: "standby" | "holder" | "unreachable") => void;
  /** @param failure null: it was told to stop */
  readonly onEnd: (failure: { readonly error: unknown } | null) => void;
}

const whyOf = (error: unknown): Pick<SubscriptionStatus, "code" | "reason"> => ({
  code: error instanceof PgstreamError ? error.code : "handler_failed",
  reason: messageOf(error),
});

export const makeSubscriptionStatus = (): SubscriptionTracker => {
  let status: Omit<SubscriptionStatus, "cursor" | "handlingMs"> = {
    state: "starting",
    reason: null,
    code: null,
    handledEvents: 0,
    lastId: null,
    lagMs: null,
    gap: null,
  };
  let handled: { readonly cursor: string } | null = null;
  let handlingSinceMs: number | null = null;
  const become = (change: Partial<SubscriptionStatus>): void => {
    status = { ...status, reason: null, code: null, ...change };
  };
  return {
    get: () => ({
      ...status,
      cursor: handled?.cursor ?? null,
      handlingMs: handlingSinceMs === null ? null : Math.round(performance.now() - handlingSinceMs),
    }),
    onLive: () => become({ state: "live" }),
    onHandle: () => {
      handlingSinceMs = performance.now();
      become({ state: "reading" });
    },
    onBatch: (events, context) => {
      handled = context;
      handlingSinceMs = null;
      const last = events.at(-1);
      become({
        state: "reading",
        handledEvents: status.handledEvents + events.length,
        lastId: last?.id ?? status.lastId,
        lagMs: last === undefined ? status.lagMs : Math.max(0, Date.now() - last.createdAt.getTime()),
      });
    },
    onRetry: (error) => become({ state: "retrying", ...whyOf(error) }),
    onGap: (gap) => become({ gap: describeGap(gap) }),
    onLease: (state) => {
      handlingSinceMs = null;
      if (state === "holder") become({ state: "starting" });
      else if (state === "standby") become({ state: "standby" });
      else become({ state: "retrying", reason: "the store is not reachable", code: "store_unavailable" });
    },
    onEnd: (failure) => {
      handlingSinceMs = null;
      become(failure === null ? { state: "stopped" } : { state: "failed", ...whyOf(failure.error) });
    },
  };
};
