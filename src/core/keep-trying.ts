//! Repeats work that is safe to repeat until it succeeds, fails for good, or is no longer wanted.

import { backoffMs, type Backoff } from "./backoff.ts";
import type { Clock } from "./ports.ts";

export interface KeepTryingOptions {
  readonly backoff: Backoff;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Whether trying again may help. What it declines is thrown. `attempt` is 0 for the first failure. */
  readonly shouldRetry: (error: unknown, attempt: number) => boolean;
}

/** Answers what `work` does; null when the signal aborted before it succeeded. There is no limit but these two. */
export const keepTrying = async <T>(
  work: () => Promise<T>,
  { backoff, clock, random, signal, shouldRetry }: KeepTryingOptions,
): Promise<T | null> => {
  // The signal aborts meanwhile, which a type checker cannot know of a property.
  const isAborted = (): boolean => signal.aborted;
  for (let attempt = 0; !isAborted(); attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (isAborted()) return null;
      if (!shouldRetry(error, attempt)) throw error;
      await clock.sleep(backoffMs(attempt, backoff, random), signal);
    }
  }
  return null;
};
