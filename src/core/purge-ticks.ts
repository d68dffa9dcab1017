//! Keeps ticks coming while events flow. They tell the age of events, and cut a long catch-up into windows.

import { isRetryable, messageOf } from "./errors.ts";
import type { Clock, Logger } from "./ports.ts";

export interface TickPorts {
  /** One statement, which writes nothing when no ids were handed out since the last tick. */
  readonly tick: () => Promise<boolean>;
  /** One purger ticks, whoever is at work. */
  readonly isLeading: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Ticks every `intervalMs` until the signal aborts. A tick that is missed is made up for by the next one.
 * @throws PgstreamError what waiting cannot mend
 */
export const keepTicking = async (
  { tick, isLeading, clock, logger }: TickPorts,
  intervalMs: number,
  signal: AbortSignal,
): Promise<void> => {
  let isFailing = false;
  while (!signal.aborted) {
    await clock.sleep(intervalMs, signal);
    if (signal.aborted || !isLeading()) continue;
    try {
      await tick();
      isFailing = false;
    } catch (error) {
      if (!isRetryable(error)) throw error;
      // Once, not every second of an outage.
      if (!isFailing) logger.warn({ error: messageOf(error) }, "no tick could be taken; trying again");
      isFailing = true;
    }
  }
};
