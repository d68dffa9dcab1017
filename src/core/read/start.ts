//! Where a new subscription starts, and where one starts over.

import { type Cursor, inWindow } from "../cursor.ts";
import { PgstreamError } from "../errors.ts";
import type { Epoch, Log, Look } from "../log.ts";
import { covers, crashSafe, emptySnapshot, isAhead, type Snapshot } from "../snapshot.ts";

/** Where to start when there is no cursor yet. */
export type From =
  | { readonly kind: "earliest" }
  | { readonly kind: "latest" }
  /** Everything that was committed at this time or later, and perhaps a little before it. */
  | { readonly kind: "time"; readonly at: Date }
  /** Everything from this id on. */
  | { readonly kind: "id"; readonly id: bigint }
  | { readonly kind: "cursor"; readonly cursor: Cursor };

const lookFrom = async (log: Log, epoch: Epoch, since: Snapshot): Promise<Look> => {
  const { main } = await log.bounds(epoch, since);
  const floor = epoch.firstId - 1n;
  const bound = main === null || main.lastId < floor ? floor : main.lastId;
  return await log.look({ since, epoch, bound, topicsSince: emptySnapshot, expectsTick: false });
};

const positionNow = async (log: Log, epoch: Epoch, since: Snapshot): Promise<Snapshot> => {
  const look = await lookFrom(log, epoch, since);
  return crashSafe(look.current, since, look.newestXid);
};

/** The first event that there ever was in the epoch, whether it is still there or not. */
export const beginningOf = (epoch: Epoch): Cursor => ({
  epoch: epoch.id,
  purge: 0n,
  seen: epoch.snapshot,
  window: null,
});

/** The first event that is still there, and the position up to which retention has emptied segments. */
interface Bottom {
  readonly earliest: Cursor;
  readonly floor: Snapshot;
}

const findBottom = async (log: Log, epoch: Epoch): Promise<Bottom> => {
  const { segments, purge } = await log.starts.floor(epoch);
  const beginning: Cursor = { ...beginningOf(epoch), purge };
  if (segments === null || !isAhead(segments.snapshot, epoch.snapshot)) {
    return { earliest: beginning, floor: epoch.snapshot };
  }
  // Below the floor there are still events of later segments: of transactions that began before the last one purged.
  // They come in one window with what follows, up to a snapshot that was really taken: the floor was lowered to what
  // was purged, and such an event may have been published long after others that the floor does not see.
  const floor = segments.snapshot;
  const look = await log.look({
    since: floor,
    epoch,
    bound: segments.lastId,
    topicsSince: emptySnapshot,
    expectsTick: true,
  });
  const until = look.tick ?? crashSafe(look.current, floor, look.newestXid);
  return { earliest: inWindow(beginning, until, segments.lastId), floor };
};

const fromId = async (log: Log, epoch: Epoch, id: bigint, { earliest, floor }: Bottom): Promise<Cursor> => {
  const lastId = await log.starts.lastId();
  if (id > lastId + 1n) {
    throw new PgstreamError(
      "invalid_cursor",
      `id ${id} has not been handed out yet: the last one is ${lastId}`,
    );
  }
  const lowest = (earliest.window?.after ?? epoch.firstId - 1n) + 1n;
  if (id <= lowest) return earliest;
  const ticks = await log.starts.ticksAround(epoch, id);
  const seen = ticks.before !== null && isAhead(ticks.before, floor) ? ticks.before : earliest.seen;
  const until = ticks.after ?? (await positionNow(log, epoch, seen));
  // Above the floor already: what is below it is gone.
  return covers(until, seen) ? inWindow({ ...earliest, seen }, until, id - 1n) : earliest;
};

/**
 * The cursor to start from in the running epoch.
 * @throws PgstreamError `invalid_cursor` for an id from the future
 */
export const startCursor = async (log: Log, epoch: Epoch, from: From): Promise<Cursor> => {
  if (from.kind === "cursor") return from.cursor;
  const bottom = await findBottom(log, epoch);
  const { earliest, floor } = bottom;
  switch (from.kind) {
    case "earliest":
      return earliest;
    case "id":
      return await fromId(log, epoch, from.id, bottom);
    case "time": {
      const tick = await log.starts.tickBy(epoch, from.at);
      return tick !== null && isAhead(tick, floor) ? { ...earliest, seen: tick, window: null } : earliest;
    }
    case "latest": {
      const tick = await log.starts.tickBy(epoch, null);
      const since = tick !== null && isAhead(tick, floor) ? tick : floor;
      return { ...earliest, seen: await positionNow(log, epoch, since), window: null };
    }
  }
};
