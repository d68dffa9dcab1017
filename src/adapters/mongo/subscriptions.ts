//! Cursor and lease of a subscription, in one document, so that *move the cursor if the lease still stands* is one
//! atomic update. The token only ever grows; time is the server's.

import type { Db } from "mongodb";

import type { Lease } from "../../core/subscribe/store.ts";
import { isDuplicateKey } from "./mongo-error.ts";
import { makeOneAtATime } from "./one-at-a-time.ts";
import type { Server } from "./server.ts";
import type { Step } from "./step.ts";

interface Subscription {
  readonly _id: string;
  readonly token: bigint;
  readonly leasedUntil: Date;
  readonly cursor?: string;
  /** The number of the move that the cursor is from, under this token. */
  readonly move?: number;
}

const longAgo = new Date(0);

const later = (time: Date, ms: number): Date => new Date(time.getTime() + ms);

export const makeSubscriptions = (database: Db, server: Server, deadlineMs: number) => {
  const subscriptions = database.collection<Subscription>("subscriptions");
  // Prolonging a lease while a commit moves the cursor would only make the two conflict; and FerretDB reads a document,
  // changes it and writes it whole, so that one of the two would be lost there.
  const inTurn = makeOneAtATime();
  // Counts every attempt: one that was given up and arrives behind later ones does not take the cursor back.
  let moves = 0;
  // The server gives up an update that takes longer than it is waited for.
  const limit = { maxTimeMS: deadlineMs };

  const take = async (name: string, ttlMs: number): Promise<Lease | null> => {
    const now = await server.now();
    try {
      const taken = await subscriptions.findOneAndUpdate(
        { _id: name, leasedUntil: { $lte: now } },
        { $set: { leasedUntil: later(now, ttlMs), move: 0 }, $inc: { token: 1n } },
        { ...limit, upsert: true, returnDocument: "after" },
      );
      return taken === null ? null : { subscription: name, token: taken.token };
    } catch (error) {
      // The document is there and did not match: somebody holds the lease, or was faster.
      if (isDuplicateKey(error)) return null;
      throw error;
    }
  };

  const prolong = async (held: Lease, ttlMs: number): Promise<Lease | null> => {
    const leasedUntil = later(await server.now(), ttlMs);
    const { matchedCount } = await subscriptions.updateOne(
      { _id: held.subscription, token: held.token },
      { $set: { leasedUntil } },
      limit,
    );
    return matchedCount === 1 ? held : null;
  };

  return {
    acquire: async (
      name: string,
      held: Lease | null,
      ttlMs: number,
      signal: AbortSignal,
    ): Promise<Lease | null> =>
      await inTurn(signal, async () => await (held === null ? take(name, ttlMs) : prolong(held, ttlMs))),

    release: async ({ subscription, token }: Lease, signal: AbortSignal): Promise<void> => {
      // The token moves on too, so that a commit still under way when the lease is given up finds it lost.
      const given = { $set: { leasedUntil: longAgo }, $inc: { token: 1n } };
      await inTurn(
        signal,
        async () => await subscriptions.updateOne({ _id: subscription, token }, given, limit),
      );
    },

    cursor: async (name: string): Promise<string | null> => {
      const found = await subscriptions.findOne({ _id: name }, { projection: { cursor: 1 } });
      return found?.cursor ?? null;
    },

    isHeld: async ({ subscription, token }: Lease): Promise<boolean> => {
      const found = await subscriptions.findOne({ _id: subscription, token }, { projection: { _id: 1 } });
      return found !== null;
    },

    /** Whether the lease still stood. */
    moveCursor: async ({ subscription, token }: Lease, cursor: string, step: Step): Promise<boolean> => {
      // In a transaction the driver sets the limit once, for all of it.
      const options = step.isTransaction ? step.options : limit;
      const move = (moves += 1);
      const { matchedCount } = await inTurn(
        step.signal,
        async () =>
          await subscriptions.updateOne(
            { _id: subscription, token, move: { $lte: move } },
            { $set: { cursor, move } },
            options,
          ),
      );
      return matchedCount === 1;
    },
  };
};

export type Subscriptions = ReturnType<typeof makeSubscriptions>;
