//! Waits for one thing after another, but for none beyond a signal.

export type UnlessAborted = <T>(work: Promise<T>) => Promise<T>;

/**
 * What it answers settles as the work does, or rejects with `reason()` as soon as the signal aborts; what the work comes to is then
 * dropped. There is one listener on the signal for all waits, so that a wait is a promise and nothing else.
 */
export const makeUnlessAborted = (signal: AbortSignal, reason: () => unknown): UnlessAborted => {
  const waits = new Set<(reason: unknown) => void>();
  const giveUp = (): void => {
    for (const reject of waits) reject(reason());
    waits.clear();
  };
  signal.addEventListener("abort", giveUp, { once: true });
  return async (work) => {
    const { promise, reject } = Promise.withResolvers<never>();
    waits.add(reject);
    if (signal.aborted) giveUp();
    try {
      return await Promise.race([work, promise]);
    } finally {
      waits.delete(reject);
    }
  };
};
