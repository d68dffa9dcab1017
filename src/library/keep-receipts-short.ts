//! Removes receipts that nobody can ask for any more: those older than configured, else than any event that lives.

import type { PostgresClient } from "../adapters/postgres/client.ts";
import { oldestSegmentAgeMs } from "../adapters/postgres/read/list-events.ts";
import { messageOf } from "../core/errors.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { ConsumerStore } from "../core/subscribe/store.ts";

const intervalMs = 60_000;
/** How far the clocks of the database and the store may be apart. */
const clockSkewMs = 3_600_000;

export interface ReceiptUpkeep {
  readonly store: ConsumerStore;
  readonly client: PostgresClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Null: as long as the events live. */
  readonly ageMs: number | null;
}

const ageOfEvents = async (client: PostgresClient): Promise<number | null> => {
  const ageMs = await oldestSegmentAgeMs(client);
  return ageMs === null ? null : ageMs + clockSkewMs;
};

/** Goes on until the signal aborts; never rejects. What fails is tried again at the next round. */
export const keepReceiptsShort = async (upkeep: ReceiptUpkeep, signal: AbortSignal): Promise<void> => {
  const { store, client, clock, logger } = upkeep;
  while (!signal.aborted) {
    try {
      const ageMs = upkeep.ageMs ?? (await ageOfEvents(client));
      const removed = ageMs === null ? 0 : await store.expireReceipts(ageMs);
      if (removed > 0) logger.info({ removed }, "old receipts removed");
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "old receipts could not be removed; trying again later");
    }
    await clock.sleep(intervalMs, signal);
  }
};
