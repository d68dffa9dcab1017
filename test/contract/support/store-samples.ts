//! Small batches for the tests of stores.

import type { Json } from "../../../src/core/event.ts";
import type {
  Commit,
  ConsumerStore,
  DocumentWrite,
  Lease,
  Receipt,
} from "../../../src/core/subscribe/store.ts";

export const course = (id: string, eventId: bigint, fields: Record<string, Json> = {}): DocumentWrite => ({
  collection: "courses",
  id,
  eventId,
  document: { CourseId: id, Version: eventId.toString(), ...fields },
});

export const receipt = (eventId: bigint, topic = "courses"): Receipt => ({
  eventId,
  topic,
  type: "CourseCreated",
});

/** A batch of one event for each id, each creating the course of that id. */
export const batchOf = (ids: readonly bigint[], cursor: string): Commit => ({
  writes: ids.map((id) => course(`course-${id}`, id)),
  receipts: ids.map((id) => receipt(id)),
  cursor,
});

export const rangeOf = (from: bigint, count: number): readonly bigint[] =>
  Array.from({ length: count }, (_, at) => from + BigInt(at));

export const minuteMs = 60_000;

/** The lease of `subscription`, which must be free. */
export const leaseOf = async (
  store: ConsumerStore,
  subscription = "consumer",
  ttlMs = minuteMs,
): Promise<Lease> => {
  const lease = await store.acquire(subscription, null, ttlMs);
  if (lease === null) throw new Error(`the lease of ${subscription} is not free`);
  return lease;
};

/** What `call` rejects with; fails when it does not. */
export const failureOf = async (call: Promise<unknown>): Promise<unknown> => {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
};
