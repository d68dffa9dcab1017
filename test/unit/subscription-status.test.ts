//! What a subscription tells of itself.

import { expect, test } from "bun:test";

import { PgstreamError } from "../../src/core/errors.ts";
import type { Event } from "../../src/core/event.ts";
import type { ConsumerStore } from "../../src/core/subscribe/store.ts";
import { openStore } from "../../src/library/open-store.ts";
import { makeSubscriptionStatus } from "../../src/library/subscription-status.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { waitFor } from "../support/wait-for.ts";

const event = (id: bigint, createdAt = new Date()): Event => ({
  id,
  topic: "courses",
  key: null,
  type: null,
  headers: null,
  createdAt,
  data: null,
  json: "null",
});

test("status counts what was handled and says where that ended, encoding the cursor only when it is asked", () => {
  const status = makeSubscriptionStatus();
  expect(status.get()).toMatchObject({ state: "starting", handledEvents: 0, lastId: null, cursor: null });
  let encoded = 0;
  const at = (cursor: string) => ({
    get cursor() {
      encoded += 1;
      return cursor;
    },
  });
  status.onBatch([event(1n), event(2n)], at("first"));
  status.onBatch([event(3n)], at("second"));
  expect(encoded).toBe(0);
  expect(status.get()).toMatchObject({ state: "reading", handledEvents: 3, lastId: 3n, cursor: "second" });
  status.onLive();
  expect(status.get().handlingMs).toBeNull();
  status.onHandle();
  expect(status.get()).toMatchObject({ state: "reading", handlingMs: expect.any(Number) as number });
  status.onBatch([], at("third"));
  expect(status.get().handlingMs).toBeNull();
  status.onLive();
  status.onEnd({ error: new Error("it broke") });
  expect(status.get()).toMatchObject({
    state: "failed",
    reason: "it broke",
    code: "handler_failed",
    lastId: 3n,
    cursor: "third",
  });
});

test("status says why it retries, by the code that a program knows, and no longer once it goes on", () => {
  const status = makeSubscriptionStatus();
  status.onRetry(new PgstreamError("database_unavailable", "it is away"));
  expect(status.get()).toMatchObject({
    state: "retrying",
    reason: "it is away",
    code: "database_unavailable",
  });
  status.onRetry(new Error("it broke"));
  expect(status.get()).toMatchObject({ state: "retrying", reason: "it broke", code: "handler_failed" });
  status.onLive();
  expect(status.get()).toMatchObject({ state: "live", reason: null, code: null });
});

test("status tells who holds the lease, and of a batch in hand only while it may be", () => {
  const status = makeSubscriptionStatus();
  const told = {
    standby: { state: "standby", reason: null, code: null },
    holder: { state: "starting", reason: null, code: null },
    unreachable: {
      state: "retrying",
      reason: "the store is not reachable",
      code: "store_unavailable",
    },
  } as const;
  for (const lease of ["unreachable", "standby", "holder"] as const) {
    status.onHandle();
    status.onLease(lease);
    expect(status.get()).toMatchObject({ ...told[lease], handlingMs: null });
  }
  status.onHandle();
  status.onEnd(null);
  expect(status.get()).toMatchObject({ state: "stopped", reason: null, code: null, handlingMs: null });
});

test("status tells how late the newest event of the last batch was, how long the one in hand takes, and what was missed", () => {
  const status = makeSubscriptionStatus();
  const since = performance.now();
  status.onHandle();
  const { handlingMs } = status.get();
  expect(handlingMs).toBeGreaterThanOrEqual(0);
  expect(handlingMs).toBeLessThanOrEqual(Math.ceil(performance.now() - since));
  const hourMs = 3_600_000;
  const publishedAt = Date.now() - hourMs;
  status.onBatch([event(1n, new Date(0)), event(2n, new Date(publishedAt))], { cursor: "late" });
  const { lagMs } = status.get();
  expect(lagMs).toBeGreaterThanOrEqual(hourMs);
  expect(lagMs).toBeLessThanOrEqual(Date.now() - publishedAt);
  status.onBatch([], { cursor: "nothing for it" });
  expect(status.get()).toMatchObject({ lagMs, lastId: 2n, handledEvents: 2 });
  // The database's clock may be ahead.
  status.onBatch([event(3n, new Date(Date.now() + hourMs))], { cursor: "early" });
  expect(status.get().lagMs).toBe(0);
  status.onGap([{ topic: "courses", events: 7, exact: true }]);
  status.onLive();
  expect(status.get().gap).toContain("7");
});

test.each([
  [10_000, {}],
  [700, { leaseTtlMs: 700 }],
])(
  "a subscription that asks for its lease for %d ms, given %p, says when it stands by",
  async (ttlMs, given) => {
    const opened = await openStore("sqlite::memory:");
    await opened.prepare();
    await opened.acquire("held", null, 600_000);
    const asked: number[] = [];
    const store: ConsumerStore = {
      ...opened,
      acquire: async (subscription, held, askedMs) => {
        asked.push(askedMs);
        return await opened.acquire(subscription, held, askedMs);
      },
    };
    const subscription = openSubscription({
      database: "postgres://nobody@127.0.0.1:1/nothing",
      topics: [">"],
      store,
      subscription: "held",
      ...given,
      handle: async () => {},
    });
    await waitFor(() => subscription.status().state === "standby", { what: "it to stand by" });
    await subscription.stop();
    expect(subscription.status().state).toBe("stopped");
    expect(new Set(asked)).toEqual(new Set([ttlMs]));
    await store.close();
  },
);
