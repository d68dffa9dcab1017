//! Waits for something, but not beyond a signal.

/**
 * Settles as `work` does, or rejects with `reason()` as soon as the signal aborts; what `work` comes to is then dropped.
 * Leaves no listener behind on a signal that outlives many waits.
 */
export const unlessAborted = async <T>(
  work: Promise<T>,
  signal: AbortSignal,
  reason: () => unknown,
): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>();
  const giveUp = (): void => reject(reason());
  signal.addEventListener("abort", giveUp, { once: true });
  if (signal.aborted) giveUp();
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
};
