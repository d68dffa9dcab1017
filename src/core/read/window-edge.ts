//! Where the next window may end, as a look says.

import { PgstreamError } from "../errors.ts";
import type { Epoch, Look } from "../log.ts";
import { covers, crashSafe, equals, type Snapshot } from "../snapshot.ts";

/** @throws PgstreamError `epoch_changed` */
export const checkEpoch = (look: Look, epoch: Epoch): void => {
  if (look.epoch.isRunning && look.epoch.newest.id === epoch.id) return;
  throw new PgstreamError(
    "epoch_changed",
    "the database is not the one this cursor was taken on: it was promoted, restored or recreated since; cross to the new epoch with ON_EPOCH_CHANGE=cross (onEpochChange), or start over in it with restart",
    {
      details: { cursorEpoch: epoch.id, newestEpoch: look.epoch.newest.id, isRunning: look.epoch.isRunning },
    },
  );
};

/** Where a window ends, and an upper bound on its ids where one is known. */
export interface WindowEdge {
  readonly until: Snapshot;
  readonly top: bigint | null;
}

/** Where the window that starts at `since` ends; null when there is nothing to read. */
export const windowEdge = (look: Look, since: Snapshot): WindowEdge | null => {
  if (!covers(look.current, since)) {
    throw new PgstreamError(
      "database_went_back",
      "the database has not yet seen what this cursor has seen: it was restored from an older image, and hands ids out again; look what it lost, then start over with an empty store",
    );
  }
  if (look.tick !== null) return { until: look.tick, top: look.tickTop };
  const until = crashSafe(look.current, since, look.newestXid);
  return equals(until, since) ? null : { until, top: null };
};
