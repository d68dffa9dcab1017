//! Lower bounds on ids, with which old segments are left out of a read.

import type { Bound } from "../log.ts";
import type { Xid } from "../snapshot.ts";

export interface TickBounds {
  readonly add: (bound: Bound) => void;
  /** Events of transactions with this xid or a greater one have ids above the answer. */
  readonly below: (xid: Xid) => bigint;
  /** Forgets what no transaction from `xid` on needs. */
  readonly trim: (xid: Xid) => void;
  readonly size: () => number;
}

const boundsMax = 2_048;

/**
 * Remembers the bounds that a reader came by, ascending. Any of them may be missing: a lesser one is weaker, not wrong.
 * @param floor the answer when none applies
 */
export const makeTickBounds = (floor: bigint): TickBounds => {
  let bounds: Bound[] = [];
  const lastAtMost = (xid: Xid): number => bounds.findLastIndex((it) => it.xid <= xid);
  return {
    add: (bound) => {
      const at = lastAtMost(bound.xid);
      if (bounds[at]?.xid === bound.xid) return;
      bounds.splice(at + 1, 0, bound);
      // A transaction open for days would pile them up: every second one bounds nearly as well.
      if (bounds.length > boundsMax) bounds = bounds.filter((_, index) => index % 2 === 0);
    },
    below: (xid) => {
      const lastId = bounds[lastAtMost(xid)]?.lastId ?? floor;
      return lastId > floor ? lastId : floor;
    },
    trim: (xid) => {
      const at = lastAtMost(xid);
      if (at > 0) bounds = bounds.slice(at);
    },
    size: () => bounds.length,
  };
};
