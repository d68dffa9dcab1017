//! PostgreSQL snapshots as values: the arithmetic that cursors are made of.
//!
//! A snapshot says which transactions count as seen: those below `xmax`, less the running ones in `xip`. It always
//! stands in canonical form, so that two snapshots see the same transactions if and only if they are equal. Checked by
//! brute force against PostgreSQL's own `pg_visible_in_snapshot` in test/integration/snapshot-arithmetic.test.ts.

import { PgstreamError } from "./errors.ts";

/** A transaction id with its epoch, PostgreSQL's `xid8`. */
export type Xid = bigint;

export interface Snapshot {
  /** The first transaction id that is not seen, with everything above it. */
  readonly xmax: Xid;
  /** Those below `xmax` that are not seen either: ascending, and `xmax - 1` is never among them. */
  readonly xip: readonly Xid[];
}

/** Sees nothing: xids below 3 are not handed out to transactions. */
export const emptySnapshot: Snapshot = { xmax: 3n, xip: [] };

/** Sees every transaction that there can be. */
export const fullSnapshot: Snapshot = { xmax: 2n ** 63n - 1n, xip: [] };

const ascending = (a: Xid, b: Xid): number => (a < b ? -1 : a > b ? 1 : 0);

/** Brings a snapshot into canonical form; `xip` may be in any order and reach above `xmax`. */
export const makeSnapshot = (xmax: Xid, xip: Iterable<Xid>): Snapshot => {
  const running = [...new Set(xip)].filter((xid) => xid < xmax).sort(ascending);
  let top = xmax;
  while (running.at(-1) === top - 1n) {
    running.pop();
    top -= 1n;
  }
  return { xmax: top, xip: running };
};

/** The least transaction id that is not seen. */
export const xmin = (snapshot: Snapshot): Xid => snapshot.xip[0] ?? snapshot.xmax;

/**
 * Reads PostgreSQL's text form, `xmin:xmax:xip,…`.
 * @throws PgstreamError `internal` when it is not one
 */
export const parseSnapshot = (text: string): Snapshot => {
  const match = /^(\d+):(\d+):((?:\d+,)*\d+)?$/.exec(text);
  if (match?.[2] === undefined) throw new PgstreamError("internal", `not a snapshot: ${text.slice(0, 80)}`);
  return makeSnapshot(BigInt(match[2]), match[3]?.split(",").map(BigInt) ?? []);
};

export const formatSnapshot = (snapshot: Snapshot): string =>
  `${xmin(snapshot)}:${snapshot.xmax}:${snapshot.xip.join(",")}`;

const includes = (sorted: readonly Xid[], xid: Xid): boolean => {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const value = sorted[middle];
    if (value === xid) return true;
    if (value !== undefined && value < xid) low = middle + 1;
    else high = middle;
  }
  return false;
};

/** PostgreSQL's `pg_visible_in_snapshot(xid, snapshot)`. */
export const sees = (snapshot: Snapshot, xid: Xid): boolean =>
  xid < snapshot.xmax && !includes(snapshot.xip, xid);

export const equals = (a: Snapshot, b: Snapshot): boolean =>
  a.xmax === b.xmax && a.xip.length === b.xip.length && a.xip.every((xid, index) => xid === b.xip[index]);

/** Whether `later` sees everything that `earlier` sees. */
export const covers = (later: Snapshot, earlier: Snapshot): boolean =>
  // In canonical form `earlier` sees its xmax - 1, so a lesser xmax is never enough.
  later.xmax >= earlier.xmax && !later.xip.some((xid) => sees(earlier, xid));

/** Whether `later` sees everything that `earlier` sees, and something more. */
export const isAhead = (later: Snapshot, earlier: Snapshot): boolean =>
  covers(later, earlier) && !equals(later, earlier);

/** What both have seen. */
export const meet = (a: Snapshot, b: Snapshot): Snapshot =>
  makeSnapshot(a.xmax < b.xmax ? a.xmax : b.xmax, [...a.xip, ...b.xip]);

/** What either has seen. */
export const union = (a: Snapshot, b: Snapshot): Snapshot => {
  const [later, earlier] = a.xmax < b.xmax ? [b, a] : [a, b];
  return makeSnapshot(
    later.xmax,
    later.xip.filter((xid) => !sees(earlier, xid)),
  );
};

/** The transactions that were running in `earlier` and are seen in `later`: the late commits of a window. */
export const lateXids = (earlier: Snapshot, later: Snapshot): readonly Xid[] =>
  earlier.xip.filter((xid) => sees(later, xid));

/**
 * The current snapshot made fit to be stored. After a crash PostgreSQL hands out again the xids whose WAL was not
 * flushed; a stored snapshot that claims to have seen them would hide their new owners' events for ever. So it claims
 * no more than what was flushed: up to the newest event visible in it, or up to `since`, which was made so before.
 * @param newest the greatest xid of an event visible in `current`, over all topics, or null when there is none
 */
export const crashSafe = (current: Snapshot, since: Snapshot, newest: Xid | null): Snapshot => {
  const flushed = newest !== null && newest >= since.xmax ? newest + 1n : since.xmax;
  return makeSnapshot(flushed < current.xmax ? flushed : current.xmax, current.xip);
};
