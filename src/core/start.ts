//! Where a new subscription starts, and where one starts over.

import { type Cursor, inWindow } from "./cursor.ts";
import { PgstreamError } from "./errors.ts";
import type { Epoch, Log } from "./log.ts";
import { covers, crashSafe, emptySnapshot, isAhead, type Snapshot } from "./snapshot.ts";

/** Where to start when there is no cursor yet. */
export type From =
  | { readonly kind: "earliest" }
  | { readonly kind: "latest" }
  /** Everything that was committed at this time or later, and perhaps a little before it. */
  | { readonly kind: "time"; readonly at: Date }
  /** Everything from this id on. */
  | { readonly kind: "id"; readonly id: bigint }
  | { readonly kind: "cursor"; readonly cursor: Cursor };

const positionNow = async (log: Log, epoch: Epoch, since: Snapshot): Promise<Snapshot> => {
  const look = await log.look({ since, epoch, bound: epoch.firstId - 1n, topicsSince: emptySnapshot });
  return crashSafe(look.current, since, look.newestXid);
};

const fromId = async (log: Log, epoch: Epoch, id: bigint, earliest: Cursor): Promise<Cursor> => {
  const lastId = await log.starts.lastId();
  if (id > lastId + 1n) {
    throw new PgstreamError(
      "invalid_cursor",
      `id ${id} has not been handed out yet: the last one is ${lastId}`,
    );
  }
  const ticks = await log.starts.ticksAround(epoch, id);
  const seen = ticks.before !== null && isAhead(ticks.before, earliest.seen) ? ticks.before : earliest.seen;
  const until = ticks.after ?? (await positionNow(log, epoch, seen));
  // Above the floor already: what is below it is gone, and will be told.
  return covers(until, seen) ? inWindow({ ...earliest, seen }, until, id - 1n) : earliest;
};

/**
 * The cursor to start from in the running epoch.
 * @throws PgstreamError `invalid_cursor` for an id from the future
 */
export const startCursor = async (log: Log, epoch: Epoch, from: From): Promise<Cursor> => {
  if (from.kind === "cursor") return from.cursor;
  const { segments, purge } = await log.starts.floor(epoch);
  const floor = segments !== null && isAhead(segments.snapshot, epoch.snapshot) ? segments : null;
  const bottom = floor?.snapshot ?? epoch.snapshot;
  const earliest: Cursor = { epoch: epoch.id, purge, seen: bottom, window: null };
  switch (from.kind) {
    case "earliest":
      // Below the floor there are still events of later segments: of transactions that began before the last one purged.
      return floor === null
        ? earliest
        : inWindow({ ...earliest, seen: epoch.snapshot }, floor.snapshot, floor.lastId);
    case "id":
      return await fromId(log, epoch, from.id, earliest);
    case "time":
    case "latest": {
      const tick = await log.starts.tickBy(epoch, from.kind === "time" ? from.at : null);
      const seen = tick !== null && isAhead(tick, bottom) ? tick : bottom;
      return { ...earliest, seen: from.kind === "time" ? seen : await positionNow(log, epoch, seen) };
    }
  }
};
