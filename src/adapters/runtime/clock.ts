//! The Clock port on the process's own timers.

import type { Clock } from "../../core/ports.ts";

// Timers of the runtime hold 31 bits; a longer wait would fire at once.
const timerMsMax = 2 ** 31 - 1;

const wait = async (ms: number, signal: AbortSignal | undefined): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const onAbort = (): void => resolve();
  signal?.addEventListener("abort", onAbort, { once: true });
  await promise;
  clearTimeout(timer);
  signal?.removeEventListener("abort", onAbort);
};

export const makeClock = (): Clock => ({
  now: () => performance.now(),
  sleep: async (ms, signal) => {
    const isAborted = (): boolean => signal?.aborted ?? false;
    for (let leftMs = Math.max(0, ms); !isAborted(); leftMs -= timerMsMax) {
      await wait(Math.min(leftMs, timerMsMax), signal);
      if (leftMs <= timerMsMax) return;
    }
  },
});
