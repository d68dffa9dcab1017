//! Tells listeners, after the commit, that there is something new: coalesced, at most one statement in flight, the next
//! carrying everything that happened meanwhile. A NOTIFY inside each publishing transaction would hold a cluster-wide
//! lock through its fsync.

import { messageOf } from "./errors.ts";
import type { Logger } from "./ports.ts";

/** To the implementer: each call is one statement of its own, in a transaction of its own. */
export interface Hints {
  /** Wakes whoever listens. */
  readonly notify: (topics: ReadonlySet<string>) => Promise<void>;
  /** Lets the log take a tick. */
  readonly tick: () => Promise<void>;
}

export interface Announcer {
  /** Never waits, never fails: a lost hint costs a poll interval and never an event. */
  readonly announce: (topics: Iterable<string>, lastId: bigint) => void;
  /** Resolves when nothing is in flight. */
  readonly settled: () => Promise<void>;
}

/** How many ids lie between two ticks at most, near enough: the length of a window when catching up. */
export const tickIds = 10_000n;

export const makeAnnouncer = (hints: Hints, logger: Logger): Announcer => {
  let pending = new Set<string>();
  let tickDue = false;
  let tickedAt = 0n;
  let inFlight: Promise<void> = Promise.resolve();
  let busy = false;

  const attempt = async (hint: Promise<void>): Promise<void> => {
    try {
      await hint;
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "a hint was lost; polling covers for it");
    }
  };
  const send = async (): Promise<void> => {
    while (pending.size > 0) {
      const topics = pending;
      const ticks = tickDue;
      pending = new Set();
      tickDue = false;
      if (ticks) await attempt(hints.tick());
      await attempt(hints.notify(topics));
    }
    busy = false;
  };
  return {
    announce: (topics, lastId) => {
      for (const topic of topics) pending.add(topic);
      if (lastId / tickIds > tickedAt / tickIds) {
        tickDue = true;
        tickedAt = lastId;
      }
      if (busy) return;
      busy = true;
      inFlight = send();
    },
    settled: async () => {
      await inFlight;
    },
  };
};
