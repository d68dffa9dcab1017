//! Commits a batch: in one transaction where the server has them, else as writes that are safe to repeat, in the order
//! effects, receipts, cursor. Never a receipt before its effect, never the cursor before both.

import type { MongoClient } from "mongodb";

import { PgstreamError } from "../../core/errors.ts";
import type { Commit, Lease } from "../../core/subscribe/store.ts";
import type { Documents } from "./documents.ts";
import type { Receipts } from "./receipts.ts";
import type { Server } from "./server.ts";
import type { Step } from "./step.ts";
import type { Subscriptions } from "./subscriptions.ts";

export interface CommitParts {
  readonly client: Pick<MongoClient, "withSession">;
  readonly server: Server;
  readonly subscriptions: Pick<Subscriptions, "isHeld" | "moveCursor">;
  readonly documents: Pick<Documents, "write">;
  readonly receipts: Pick<Receipts, "put">;
}

const lost = ({ subscription }: Lease): PgstreamError =>
  new PgstreamError("lease_lost", `the lease of subscription ${subscription} is lost`);

export const makeCommit = ({ client, server, subscriptions, documents, receipts }: CommitParts) => {
  const writeAll = async (lease: Lease, { writes, receipts: done, cursor }: Commit, step: Step) => {
    const { updatesMax } = await server.abilities();
    await documents.write(writes, step, updatesMax);
    if (done.length > 0) await receipts.put(done, await server.now(), step);
    if (!(await subscriptions.moveCursor(lease, cursor, step))) throw lost(lease);
  };

  return async (lease: Lease, commit: Commit, signal: AbortSignal): Promise<void> => {
    const { hasTransactions } = await server.abilities();
    if (!hasTransactions) {
      // The cursor is guarded all the same; this keeps a loser from writing effects as well.
      if (!(await subscriptions.isHeld(lease))) throw lost(lease);
      await writeAll(lease, commit, { options: {}, isTransaction: false, signal });
      return;
    }
    await client.withSession(async (session) => {
      // The driver repeats it on conflicts and elections. What it is given to do checks the deadline each time.
      await session.withTransaction(
        async () => {
          signal.throwIfAborted();
          await writeAll(lease, commit, { options: { session }, isTransaction: true, signal });
        },
        {
          readConcern: { level: "snapshot" },
          writeConcern: { w: "majority", journal: true },
          readPreference: "primary",
        },
      );
    });
  };
};
