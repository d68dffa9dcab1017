//! Asks for a tick whenever the ids have crossed a multiple of 10,000, over all lanes: at most one is under way, and the
//! next one covers everything that happened meanwhile. (Listeners are woken elsewhere: by whoever appends.)

import { messageOf } from "../errors.ts";
import type { Logger } from "../ports.ts";

/** To the implementer: each call is one statement of its own, in a transaction of its own. */
export interface Ticker {
  /** Lets the log take a tick. */
  readonly tick: () => Promise<void>;
}

export interface Announcer {
  /** Never waits, never fails: a tick that is lost makes a window longer, and costs no event. */
  readonly announce: (lastId: bigint) => void;
  /** Resolves when nothing is in flight. */
  readonly settled: () => Promise<void>;
}

/** How many ids lie between two ticks at most, near enough. Windows of a catch-up span a few of them. */
export const tickIds = 10_000n;

export const makeAnnouncer = (ticker: Ticker, logger: Logger): Announcer => {
  let isDue = false;
  let tickedAt = 0n;
  let inFlight: Promise<void> = Promise.resolve();
  let busy = false;

  const send = async (): Promise<void> => {
    while (isDue) {
      isDue = false;
      try {
        await ticker.tick();
      } catch (error) {
        logger.debug({ error: messageOf(error) }, "a tick was lost; the next one covers for it");
      }
    }
    busy = false;
  };
  return {
    announce: (lastId) => {
      if (lastId / tickIds <= tickedAt / tickIds) return;
      isDue = true;
      tickedAt = lastId;
      if (busy) return;
      busy = true;
      inFlight = send();
    },
    settled: async () => {
      await inFlight;
    },
  };
};
