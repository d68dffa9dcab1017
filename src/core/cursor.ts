//! Where a subscription stands: a snapshot, or the middle of a window between two.

import { equals, fullSnapshot, type Snapshot } from "./snapshot.ts";

/** In the middle of reading the window from `Cursor.seen` to `until`, by id. */
export interface OpenWindow {
  readonly until: Snapshot;
  /** Everything of the window with an id up to this one has been handled. */
  readonly after: bigint;
}

export interface Cursor {
  /** The epoch's id, a UUID: xids and ids mean nothing outside it. */
  readonly epoch: string;
  /** The newest purge the subscription knows of; what later ones removed it has to be told. */
  readonly purge: bigint;
  /** Everything visible in this snapshot has been handled. */
  readonly seen: Snapshot;
  /** Null at rest. */
  readonly window: OpenWindow | null;
}

/** Stands at the end of the window it was reading. */
export const atRest = (cursor: Cursor): Cursor =>
  cursor.window === null ? cursor : { ...cursor, seen: cursor.window.until, window: null };

/** Stands in the middle of the window from `cursor.seen` to `until`. */
export const inWindow = (cursor: Cursor, until: Snapshot, after: bigint): Cursor => ({
  ...cursor,
  window: { until, after },
});

/** Whether it is on its way out of its epoch: in a window that ends with whatever the epoch holds. */
export const isCrossing = ({ window }: Cursor): boolean => window?.until.xmax === fullSnapshot.xmax;

/** Whether two cursors stand at the same place, at rest or in the middle of the same window. */
export const samePlace = (a: Cursor, b: Cursor): boolean =>
  a.epoch === b.epoch &&
  equals(a.seen, b.seen) &&
  (a.window === null || b.window === null
    ? a.window === b.window
    : a.window.after === b.window.after && equals(a.window.until, b.window.until));

/** Whether two cursors at rest stand at the same place: their snapshots see the same. */
export const sameRest = (a: Cursor, b: Cursor): boolean =>
  a.window === null && b.window === null && a.epoch === b.epoch && equals(a.seen, b.seen);
