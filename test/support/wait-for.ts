//! Waiting for a condition, never for a time.

export interface WaitOptions {
  /** Completes the sentence "timed out waiting for …". */
  readonly what: string;
  /** Default 10 s. */
  readonly deadlineMs?: number;
  /** Default 20 ms. */
  readonly pollIntervalMs?: number;
}

type Falsy = false | null | undefined;

/**
 * Asks `condition` again and again until it gives something other than false, null or undefined, and returns that. One that
 * throws has not come true yet: a database may still be starting.
 *
 * @throws Error after the deadline; its cause is what the condition threw last, if it did
 */
export const waitFor = async <T>(
  condition: () => T | Falsy | Promise<T | Falsy>,
  { what, deadlineMs = 10_000, pollIntervalMs = 20 }: WaitOptions,
): Promise<T> => {
  const deadlineAtMs = performance.now() + deadlineMs;
  let lastError: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== false && value !== null && value !== undefined) return value;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() >= deadlineAtMs) {
      const message = `timed out after ${deadlineMs} ms waiting for ${what}`;
      throw new Error(message, lastError === undefined ? undefined : { cause: lastError });
    }
    await Bun.sleep(pollIntervalMs);
  }
};
