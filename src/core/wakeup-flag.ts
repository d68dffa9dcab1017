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
  let isRaised = false;
  // Not one promise that all wait for: on an idle log each wait would leave something behind on it.
  const waiting = new Set<() => void>();
  return {
    raise: () => {
      isRaised = true;
      for (const wake of waiting) wake();
    },
    clear: () => {
      isRaised = false;
    },
    wait: async (ms, signal) => {
      if (isRaised || signal.aborted) return;
      const woken = new AbortController();
      const wake = (): void => woken.abort();
      waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      await clock.sleep(ms, woken.signal);
      signal.removeEventListener("abort", wake);
      waiting.delete(wake);
    },
  };
};
