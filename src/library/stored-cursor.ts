//! Cursor and receipts kept in a store, by one process at a time.

import type { PostgresClient } from "../adapters/postgres/client.ts";
import type { Event } from "../core/event.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { EventHandler, HandleContext } from "../core/subscribe/event-handler.ts";
import { type Held, runWithLease, type StandbyPorts } from "../core/subscribe/standby.ts";
import type { ConsumerStore, DocumentWrite, Lease } from "../core/subscribe/store.ts";
import { keepReceiptsShort } from "./keep-receipts-short.ts";

/** The store keeps cursor and receipts; a second process on the same store stands by. */
export interface StoredCursor {
  readonly store: ConsumerStore;
  /** What the cursor is kept under. */
  readonly subscription: string;
  /** How long a silent process keeps others standing by. Default 10,000 ms. */
  readonly leaseTtlMs?: number;
  /** How long receipts are kept. Default: as long as the log may hold their events. */
  readonly receiptsAgeMs?: number | null;
  /** As {@link EventHandler.handle}; the documents it answers are committed together with the receipts and the cursor. */
  readonly handle: (
    events: readonly Event[],
    context: HandleContext,
  ) => Promise<readonly DocumentWrite[] | void>;
}

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

export interface StoredPorts extends Pick<StandbyPorts, "onState"> {
  readonly client: PostgresClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Runs the subscription with the store's handler until the signal aborts. */
  readonly runWith: (handler: EventHandler, signal: AbortSignal) => Promise<void>;
}

/**
 * Stands by or runs, and keeps the receipts short, until the signal aborts.
 * @throws whatever `runWith` throws, except `lease_lost`
 */
export const runStored = async (
  stored: StoredCursor,
  { client, clock, logger, onState, runWith }: StoredPorts,
  signal: AbortSignal,
): Promise<void> => {
  const { store, subscription, leaseTtlMs = 10_000, receiptsAgeMs = null } = stored;
  const ended = new AbortController();
  const upkeep = keepReceiptsShort({ store, client, clock, logger, ageMs: receiptsAgeMs }, ended.signal);
  const held: Held = async (lease, until) => await runWith(storedHandler(stored, lease), until);
  try {
    await runWithLease(held, { store, clock, logger, onState }, { subscription, ttlMs: leaseTtlMs }, signal);
  } finally {
    ended.abort();
    await upkeep;
  }
};
