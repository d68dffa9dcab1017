//! A flag that wakes who waits for it: what hints are turned into. Alone, it is what polling waits on.
//!
//! Two of them lie between the hint of an event and its handler, so a wait is a promise and nothing else: the alarm that
//! the poll interval sets, and what listens to the signal, go on from one wait to the next.

import type { Clock } from "./ports.ts";

/** Hints that there may be something to read. Hints are never needed: polling covers for lost ones. */
export interface Wakeups {
  /** Forgets the hints so far. Call it before looking. */
  readonly clear: () => void;
  /**
   * Resolves at the first hint since `clear`, after `ms`, or when the signal aborts. Never rejects. Whoever has waited
   * aborts the signal in the end: the alarm may run for `ms` otherwise.
   */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface WakeupFlag extends Wakeups {
  /** Gives a hint. */
  readonly raise: () => void;
}

interface Wait {
  readonly until: number;
  readonly signal: AbortSignal;
  readonly wake: () => void;
}

interface Alarm {
  readonly at: number;
  readonly off: AbortController;
}

class Flag implements WakeupFlag {
  readonly #clock: Clock;
  readonly #waits = new Set<Wait>();
  /** Those that are listened to. */
  readonly #signals = new WeakSet<AbortSignal>();
  /** Rings no later than the first of the waits is over; perhaps for one that was woken long ago. */
  #alarm: Alarm | null = null;
  #isRaised = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readonly raise = (): void => {
    this.#isRaised = true;
    this.#wake(() => true);
  };

  readonly clear = (): void => {
    this.#isRaised = false;
  };

  readonly wait = (ms: number, signal: AbortSignal): Promise<void> => {
    if (this.#isRaised || signal.aborted) return Promise.resolve();
    this.#heed(signal);
    const { promise, resolve } = Promise.withResolvers<void>();
    const until = this.#clock.now() + ms;
    this.#waits.add({ until, signal, wake: resolve });
    this.#setAlarm(until);
    return promise;
  };

  #wake(isMeant: (wait: Wait) => boolean): void {
    for (const wait of this.#waits) {
      if (!isMeant(wait)) continue;
      this.#waits.delete(wait);
      wait.wake();
    }
  }

  #heed(signal: AbortSignal): void {
    if (this.#signals.has(signal)) return;
    this.#signals.add(signal);
    const onAbort = (): void => {
      this.#wake((wait) => wait.signal === signal);
      if (this.#waits.size === 0) this.#stopAlarm();
    };
    signal.addEventListener("abort", onAbort, { once: true });
  }

  #setAlarm(at: number): void {
    if (this.#alarm !== null && this.#alarm.at <= at) return;
    this.#stopAlarm();
    this.#alarm = { at, off: new AbortController() };
    void this.#ring(this.#alarm);
  }

  #stopAlarm(): void {
    this.#alarm?.off.abort();
    this.#alarm = null;
  }

  async #ring({ at, off }: Alarm): Promise<void> {
    await this.#clock.sleep(at - this.#clock.now(), off.signal);
    if (off.signal.aborted) return;
    this.#alarm = null;
    this.#wake(({ until }) => until <= at);
    if (this.#waits.size > 0) this.#setAlarm(Math.min(...[...this.#waits].map(({ until }) => until)));
  }
}

export const makeWakeupFlag = (clock: Clock): WakeupFlag => new Flag(clock);
