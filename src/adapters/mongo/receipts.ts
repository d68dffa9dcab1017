//! Receipts: which events were handled. `_id` is the event's id, a 64-bit integer, so that there is one per event; the
//! first one stays.

import type { Db, Filter } from "mongodb";

import type { Receipt } from "../../core/subscribe/store.ts";
import { isDuplicateKey } from "./mongo-error.ts";
import type { Server } from "./server.ts";
import type { Step } from "./step.ts";

interface Stored {
  readonly _id: bigint;
  readonly topic: string;
  readonly type: string | null;
  readonly receivedAt: Date;
}

export const makeReceipts = (database: Db, server: Server) => {
  const receipts = database.collection<Stored>("receivedEvents");

  const idsOf = async (filter: Filter<Stored>, limit: number, step?: Step): Promise<readonly bigint[]> => {
    const found = await receipts
      .find(filter, { ...step?.options, projection: { _id: 1 }, sort: { _id: 1 }, limit })
      .toArray();
    return found.map(({ _id }) => _id);
  };

  return {
    prepare: async (): Promise<void> => {
      await receipts.createIndex({ receivedAt: 1 });
    },

    put: async (done: readonly Receipt[], receivedAt: Date, step: Step): Promise<void> => {
      // In a transaction a duplicate would end it, so what is there is left out; outside, a duplicate is the answer.
      const known = new Set(
        step.isTransaction
          ? await idsOf({ _id: { $in: done.map(({ eventId }) => eventId) } }, done.length, step)
          : [],
      );
      const missing = done.filter(({ eventId }) => !known.has(eventId));
      step.signal.throwIfAborted();
      if (missing.length === 0) return;
      try {
        await receipts.insertMany(
          missing.map(({ eventId, topic, type }) => ({ _id: eventId, topic, type, receivedAt })),
          { ...step.options, ordered: false },
        );
      } catch (error) {
        if (step.isTransaction || !isDuplicateKey(error)) throw error;
      }
    },

    ids: async (topics: readonly string[], after: bigint, limit: number): Promise<readonly bigint[]> =>
      await idsOf({ _id: { $gt: after }, topic: { $in: [...topics] } }, limit),

    count: async (): Promise<number> => await receipts.countDocuments(),

    /** Removes at most `limit` of the oldest receipts of all from before `horizon`; returns how many. */
    expire: async (horizon: Date, limit: number): Promise<number> => {
      const old = await receipts
        .find({ receivedAt: { $lt: horizon } }, { projection: { _id: 1 }, sort: { receivedAt: 1 }, limit })
        .toArray();
      if (old.length === 0) return 0;
      const { deletedCount } = await receipts.deleteMany({ _id: { $in: old.map(({ _id }) => _id) } });
      return deletedCount;
    },

    now: server.now,
  };
};

export type Receipts = ReturnType<typeof makeReceipts>;
