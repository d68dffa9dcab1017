//! Where a consumer keeps what it did: documents, receipts, its cursor and its lease. The port; see adapters/sqlite and adapters/mongo.

import type { Json } from "../event.ts";

/** Proof that this process may move the cursor. A later holder always has a greater token. */
export interface Lease {
  readonly subscription: string;
  readonly token: bigint;
}

/** That an event was handled; kept in `receivedEvents`, one per event id. */
export interface Receipt {
  readonly eventId: bigint;
  readonly topic: string;
  readonly type: string | null;
}

/** One effect: "document `id` of `collection` is now this, as of this event". */
export interface DocumentWrite {
  readonly collection: string;
  readonly id: string;
  readonly document: Readonly<Record<string, Json>>;
  /** The event that caused it; a document never goes back to an older event's version. */
  readonly eventId: bigint;
}

/** What handling one batch leads to. */
export interface Commit {
  /** Several for one document are fine: the one of the greatest event id stays. */
  readonly writes: readonly DocumentWrite[];
  readonly receipts: readonly Receipt[];
  /** The position after the batch, opaque text. */
  readonly cursor: string;
}

export interface DocumentPage {
  readonly documents: readonly Readonly<Record<string, Json>>[];
  /** Pass it as `after` for the next page; null on the last. */
  readonly next: string | null;
}

/**
 * A consumer's store.
 *
 * To the implementer: every method is safe to repeat; failures that waiting may mend are thrown as
 * PgstreamError `store_unavailable` (retryable), others as `store_error`; every call ends within the deadline
 * given at opening. Names of collections come from the program, never from users.
 */
export interface ConsumerStore {
  /** Creates what is missing (collections, indexes). Safe to run by several processes at once. */
  readonly prepare: () => Promise<void>;

  /**
   * Takes or keeps the lease of `subscription` for `ttlMs`, by the store's own clock.
   * `held` null: take it if it is free or has run out; the token is then greater than any before it.
   * `held` given: prolong it, run out or not; null when somebody else has taken it since, or it was released.
   */
  readonly acquire: (subscription: string, held: Lease | null, ttlMs: number) => Promise<Lease | null>;
  /**
   * Gives the lease up so that the next process need not wait for it to run out; nothing can be committed with it any
   * more. No-op when it is lost.
   */
  readonly release: (lease: Lease) => Promise<void>;

  /** Where the subscription was, or null when it is new. */
  readonly cursor: (subscription: string) => Promise<string | null>;
  /**
   * Effects, then receipts, then the cursor: in one transaction where the store has them, else idempotent writes
   * in exactly this order. Repeating a commit changes nothing. Guarded by the lease's token: when it is lost, throws
   * PgstreamError `lease_lost`, and (at least) the cursor has not moved.
   */
  readonly commit: (lease: Lease, commit: Commit) => Promise<void>;

  /** One document, without its bookkeeping fields, or null. */
  readonly document: (collection: string, id: string) => Promise<Readonly<Record<string, Json>> | null>;
  /** Documents ordered by id (by its UTF-8 bytes), ascending, those after `after`, at most `limit`, which is at least 1. */
  readonly documents: (collection: string, after: string | null, limit: number) => Promise<DocumentPage>;

  /** Ids of all receipts of the topics with id > `after`, ascending, at most `limit`: for `pgstream verify`. */
  readonly receiptIds: (
    topics: readonly string[],
    after: bigint,
    limit: number,
  ) => Promise<readonly bigint[]>;
  readonly receiptCount: () => Promise<number>;
  /**
   * Removes receipts older than `ageMs`, by the store's clock, in bounded batches; returns how many. What does not fit
   * into the deadline is left to the next call.
   */
  readonly expireReceipts: (ageMs: number) => Promise<number>;

  /** Safe to call twice. */
  readonly close: () => Promise<void>;
}
