//! A flag that wakes who waits for it: what hints are turned into. Alone, it is what polling waits on.

import type { Clock } from "./ports.ts";

/** Hints that there may be something to read. Hints are never needed: polling covers for lost ones. */
export interface Wakeups {
  /** Forgets the hints so far. Call it before looking. */
  readonly clear: () => void;
  /** Resolves at the first hint since `clear`, after `ms`, or when the signal aborts. Never rejects. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface WakeupFlag extends Wakeups {
  /** Gives a hint. */
  readonly raise: () => void;
}

export const makeWakeupFlag = (clock: Clock): WakeupFlag => {
  let raised = Promise.withResolvers<void>();
  let isRaised = false;
  return {
    raise: () => {
      isRaised = true;
      raised.resolve();
    },
    clear: () => {
      if (!isRaised) return;
      isRaised = false;
      raised = Promise.withResolvers<void>();
    },
    wait: async (ms, signal) => {
      if (isRaised) return;
      const done = new AbortController();
      await Promise.race([raised.promise, clock.sleep(ms, AbortSignal.any([signal, done.signal]))]);
      done.abort();
    },
  };
};
