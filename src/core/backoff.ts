//! How long to wait before trying again.

export interface Backoff {
  readonly delayMsMin: number;
  readonly delayMsMax: number;
}

/**
 * Exponential backoff with full jitter: a uniform wait below the doubled ceiling, so that a crowd that failed
 * together does not return together (M. Brooker, "Exponential Backoff And Jitter", 2015).
 * @param attempt 0 for the first retry
 * @param random uniform in [0, 1)
 * @returns milliseconds
 */
export const backoffMs = (
  attempt: number,
  { delayMsMin, delayMsMax }: Backoff,
  random: () => number,
): number =>
  Math.max(
    delayMsMin,
    Math.round(random() * Math.min(delayMsMax, delayMsMin * 2 ** Math.min(attempt + 1, 30))),
  );
