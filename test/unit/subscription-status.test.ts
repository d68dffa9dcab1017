//! What a subscription tells of itself.

import { expect, test } from "bun:test";

import type { Event } from "../../src/core/event.ts";
import { makeSubscriptionStatus } from "../../src/library/subscription-status.ts";

const event = (id: bigint): Event => ({
  id,
  topic: "courses",
  key: null,
  type: null,
  headers: null,
  createdAt: new Date(),
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
