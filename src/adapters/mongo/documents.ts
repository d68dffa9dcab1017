//! Documents: `{_id, eventId, document}`, what the application wrote kept apart from our bookkeeping. A document never
//! goes back to the version of an older event.
//!
//! What is there is read first, then what is missing is inserted and what is older replaced. An upsert of *older than this
//! event* would be one step, but it meets a newer document as a duplicate key: that ends a transaction, and outside of
//! one it may also mean that an older version was faster.

import type { Db } from "mongodb";

import type { Json } from "../../core/event.ts";
import { checkCollection } from "../../core/subscribe/own-collections.ts";
import type { DocumentPage, DocumentWrite } from "../../core/subscribe/store.ts";
import { chunksOf } from "./chunks.ts";
import { isDuplicateKey } from "./mongo-error.ts";
import type { Step } from "./step.ts";

type Document = Readonly<Record<string, Json>>;

interface Stored {
  readonly _id: string;
  readonly eventId: bigint;
  readonly document: Document;
}

// A write is beaten to a missing document by the previous holder of the lease, finishing late: once, not often.
const writeTriesMax = 3;

/** The latest write of each document, by collection. */
const latestWrites = (writes: readonly DocumentWrite[]): ReadonlyMap<string, readonly Stored[]> => {
  const collections = new Map<string, Map<string, Stored>>();
  for (const { collection, id: given, eventId, document } of writes) {
    // As the driver will store it: a lone surrogate is not found again under its own name.
    const id = given.toWellFormed();
    const latest = collections.get(collection) ?? new Map<string, Stored>();
    collections.set(collection, latest);
    const other = latest.get(id);
    if (other === undefined || other.eventId < eventId) latest.set(id, { _id: id, eventId, document });
  }
  return new Map([...collections].map(([name, latest]) => [name, [...latest.values()]]));
};

export const makeDocuments = (database: Db) => {
  const collectionOf = (name: string) => {
    checkCollection(name);
    return database.collection<Stored>(name);
  };

  /** @returns false when a missing document was there after all */
  const write = async (name: string, wanted: readonly Stored[], step: Step, updatesMax: number) => {
    const collection = collectionOf(name);
    const found = await collection
      .find({ _id: { $in: wanted.map(({ _id }) => _id) } }, { ...step.options, projection: { eventId: 1 } })
      .toArray();
    const eventIdOf = new Map(found.map(({ _id, eventId }) => [_id, eventId]));
    const missing = wanted.filter(({ _id }) => !eventIdOf.has(_id));
    const newer = wanted.filter(({ _id, eventId }) => (eventIdOf.get(_id) ?? eventId) < eventId);

    for (const chunk of chunksOf(newer, updatesMax)) {
      step.signal.throwIfAborted();
      await collection.bulkWrite(
        chunk.map(({ _id, eventId, document }) => ({
          replaceOne: { filter: { _id, eventId: { $lt: eventId } }, replacement: { eventId, document } },
        })),
        { ...step.options, ordered: false },
      );
    }
    step.signal.throwIfAborted();
    if (missing.length === 0) return true;
    try {
      await collection.insertMany(missing, { ...step.options, ordered: false });
      return true;
    } catch (error) {
      if (!step.isTransaction && isDuplicateKey(error)) return false;
      throw error;
    }
  };

  return {
    write: async (writes: readonly DocumentWrite[], step: Step, updatesMax: number): Promise<void> => {
      const latest = latestWrites(writes);
      // Before anything is written.
      for (const name of latest.keys()) checkCollection(name);
      for (const [name, wanted] of latest) {
        let tries = 1;
        while (!(await write(name, wanted, step, updatesMax)) && tries < writeTriesMax) tries += 1;
      }
    },
    document: async (name: string, id: string): Promise<Document | null> => {
      const found = await collectionOf(name).findOne({ _id: id }, { projection: { document: 1 } });
      return found?.document ?? null;
    },
    page: async (name: string, after: string | null, limit: number): Promise<DocumentPage> => {
      // One more than asked for tells whether there is a next page.
      const found = await collectionOf(name)
        .find(after === null ? {} : { _id: { $gt: after } }, { projection: { document: 1 } })
        .sort({ _id: 1 })
        .limit(limit + 1)
        .toArray();
      const shown = found.slice(0, limit);
      return {
        documents: shown.map(({ document }) => document),
        next: found.length > limit ? (shown.at(-1)?._id ?? null) : null,
      };
    },
  };
};

export type Documents = ReturnType<typeof makeDocuments>;
