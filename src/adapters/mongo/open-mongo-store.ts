//! A consumer's store in MongoDB. On a replica set a batch commits as one transaction; elsewhere as writes in the order
//! effects, receipts, cursor, each of them safe to repeat, so that a crash in between costs a repeat and nothing else.

import { PgstreamError } from "../../core/errors.ts";
import type { Logger } from "../../core/ports.ts";
import type { ConsumerStore } from "../../core/subscribe/store.ts";
import { makeCommit } from "./commit.ts";
import { connect, databaseNameOf } from "./connect.ts";
import { makeWithin } from "./deadline.ts";
import { makeDocuments } from "./documents.ts";
import { makeReceipts } from "./receipts.ts";
import { makeServer } from "./server.ts";
import { makeSubscriptions } from "./subscriptions.ts";

export interface MongoStoreOptions {
  /** The longest a call may take. */
  readonly deadlineMs: number;
  /** Certificates to trust, PEM; turns TLS on. Null leaves both to the URL. */
  readonly ca: string | null;
  readonly logger: Logger;
}

const expireReceiptsMax = 1_000;

/**
 * Opens `mongodb:` or `mongodb+srv:`, without connecting: a server that is not there yet fails the calls, with
 * `store_unavailable`, and not the opening. The database is the one in the URL, `consumer` if there is none.
 * @throws PgstreamError `invalid_config`
 */
export const openMongoStore = (url: string, { deadlineMs, ca, logger }: MongoStoreOptions): ConsumerStore => {
  const client = connect(url, ca, deadlineMs);
  const database = client.db(databaseNameOf(url));
  let isClosed = false;
  // The driver connects by itself only once: after a first failure its calls say "Topology is closed" for ever, but
  // `connect` tries again, and returns at once when there is nothing to do. It would revive a closed client, too.
  const within = makeWithin(deadlineMs, async () => {
    if (isClosed) throw new PgstreamError("store_error", "the MongoDB store is closed");
    await client.connect();
  });
  const server = makeServer(database, logger);
  const subscriptions = makeSubscriptions(database, server, deadlineMs);
  const documents = makeDocuments(database);
  const receipts = makeReceipts(database, server);
  const commitAll = makeCommit({ client, server, subscriptions, documents, receipts });

  const expireReceipts = async (ageMs: number): Promise<number> => {
    const endsAt = performance.now() + deadlineMs;
    const now = await within("tell the time", receipts.now);
    const horizon = new Date(now.getTime() - ageMs);
    let removed = 0;
    while (performance.now() < endsAt) {
      const some = await within("remove old receipts", () => receipts.expire(horizon, expireReceiptsMax));
      removed += some;
      if (some < expireReceiptsMax) break;
    }
    return removed;
  };

  return {
    prepare: async () => {
      await within("prepare", async () => {
        await server.abilities();
        await receipts.prepare();
      });
    },
    acquire: (subscription, held, ttlMs) =>
      within("acquire a lease", (signal) => subscriptions.acquire(subscription, held, ttlMs, signal)),
    release: (lease) => within("release a lease", (signal) => subscriptions.release(lease, signal)),
    cursor: (subscription) => within("read a cursor", () => subscriptions.cursor(subscription)),
    commit: (lease, commit) => within("commit a batch", (signal) => commitAll(lease, commit, signal)),
    document: (collection, id) => within("read a document", () => documents.document(collection, id)),
    documents: (collection, after, limit) =>
      within("read documents", () => documents.page(collection, after, limit)),
    receiptIds: (topics, after, limit) => within("read receipts", () => receipts.ids(topics, after, limit)),
    receiptCount: () => within("count receipts", receipts.count),
    expireReceipts,
    close: async () => {
      isClosed = true;
      await client.close();
    },
  };
};
