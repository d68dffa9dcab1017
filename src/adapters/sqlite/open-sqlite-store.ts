//! A consumer's store in one SQLite file: effects, receipts and cursor commit in one transaction, or none of them does.
//!
//! SQLite works inside the process: a statement that waits for another process's lock makes this one wait too, at most
//! `deadlineMs`; past it the call fails with `store_unavailable` and nothing is written.

import { PgstreamError } from "../../core/errors.ts";
import type { Commit, ConsumerStore, Lease } from "../../core/subscribe/store.ts";
import { connect, pathOf } from "./connect.ts";
import { makeDocuments } from "./documents.ts";
import { makeReceipts } from "./receipts.ts";
import { schema } from "./schema.ts";
import { storeError } from "./sqlite-error.ts";
import { makeSubscriptions } from "./subscriptions.ts";

export interface SqliteStoreOptions {
  /** The longest a call may take. */
  readonly deadlineMs: number;
}

// Short enough that a delete never keeps the other process waiting for long.
const expireReceiptsMax = 1_000;

/** The statements need the tables, so the tables come first; creating what exists costs nothing. */
const openTables = (url: string, lockedMsMax: number) => {
  const database = connect(pathOf(url), lockedMsMax);
  const createTables = database.transaction(() => database.run(schema));
  try {
    createTables.immediate();
    return {
      database,
      createTables,
      subscriptions: makeSubscriptions(database),
      documents: makeDocuments(database),
      receipts: makeReceipts(database),
    };
  } catch (cause) {
    database.close();
    throw storeError("create its tables", cause);
  }
};

/** SQLite's calls are synchronous; the port's are not, and fail in its words. */
const answer = <T>(doing: string, call: () => T): Promise<T> =>
  Promise.try(() => {
    try {
      return call();
    } catch (cause) {
      throw storeError(doing, cause);
    }
  });

/**
 * Opens `sqlite:./file.sqlite` (or `sqlite::memory:`), creating the file and its tables if need be.
 * @throws PgstreamError `invalid_config`, `store_unavailable`, `store_error`
 */
export const openSqliteStore = (url: string, { deadlineMs }: SqliteStoreOptions): ConsumerStore => {
  const { database, createTables, subscriptions, documents, receipts } = openTables(url, deadlineMs);

  const commitAll = database.transaction((lease: Lease, { writes, receipts: done, cursor }: Commit) => {
    // The lease first: a loser rolls back before it has done any work.
    if (!subscriptions.moveCursor(lease, cursor)) {
      throw new PgstreamError("lease_lost", `the lease of subscription ${lease.subscription} is lost`);
    }
    for (const write of writes) documents.write(write);
    for (const receipt of done) receipts.put(receipt);
  });

  const expireReceipts = async (ageMs: number): Promise<number> => {
    const endsAt = performance.now() + deadlineMs;
    const horizon = await answer("tell the time", () => receipts.now() - ageMs / 1_000);
    let removed = 0;
    while (performance.now() < endsAt) {
      const some = await answer("remove old receipts", () => receipts.expire(horizon, expireReceiptsMax));
      removed += some;
      if (some < expireReceiptsMax) break;
      await Bun.sleep(0); // lets the rest of the process live
    }
    return removed;
  };

  return {
    prepare: async () => {
      await answer("create its tables", () => createTables.immediate());
    },
    acquire: (subscription, held, ttlMs) =>
      answer("acquire a lease", () => subscriptions.acquire(subscription, held, ttlMs)),
    release: (lease) => answer("release a lease", () => subscriptions.release(lease)),
    cursor: (subscription) => answer("read a cursor", () => subscriptions.cursor(subscription)),
    commit: (lease, commit) => answer("commit a batch", () => commitAll.immediate(lease, commit)),
    document: (collection, id) => answer("read a document", () => documents.document(collection, id)),
    documents: (collection, after, limit) =>
      answer("read documents", () => documents.page(collection, after, limit)),
    receiptIds: (topics, after, limit) => answer("read receipts", () => receipts.ids(topics, after, limit)),
    receiptCount: () => answer("count receipts", () => receipts.count()),
    expireReceipts,
    close: () => answer("close", () => database.close()),
  };
};
