//! Keeps ticks coming while events flow. They tell the age of events, and cut a long catch-up into windows.

import { type ErrorCode, messageOf, PgstreamError } from "../errors.ts";
import type { Clock, Logger } from "../ports.ts";

export interface TickPorts {
  /** One statement, which writes nothing when no ids were handed out since the last tick. */
  readonly tick: () => Promise<unknown>;
  /** Whether this purger is the one at work, who ticks: asked each time, so that one that stands by takes over at once. */
  readonly lead: () => Promise<boolean>;
  /** Told when ticks come to fail, with the code of why, and null when they come to work again. */
  readonly onState: (failure: ErrorCode | null) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Ticks every `intervalMs` until the signal aborts. A tick that is missed is made up for by the next one.
 * @throws PgstreamError what waiting cannot mend
 */
export const keepTicking = async (
  { tick, lead, onState, clock, logger }: TickPorts,
  intervalMs: number,
  signal: AbortSignal,
): Promise<void> => {
  let isFailing = false;
  while (!signal.aborted) {
    await clock.sleep(intervalMs, signal);
    if (signal.aborted) continue;
    try {
      // Who leads no more need not tell whether ticks still fail.
      if (await lead()) await tick();
      if (isFailing) onState(null);
      isFailing = false;
    } catch (error) {
      if (!(error instanceof PgstreamError && error.retryable)) throw error;
      onState(error.code);
      // Once, not every second of an outage.
      if (!isFailing) logger.warn({ error: messageOf(error) }, "no tick could be taken; trying again");
      isFailing = true;
    }
  }
};
