//! Fakes for the core's ports: time that only moves when told, a logger that keeps what it was told.

import { PgstreamError } from "../../../src/core/errors.ts";
import type { Clock, LogFields, Logger } from "../../../src/core/ports.ts";

export interface FakeClock extends Clock {
  /** Lets this much time pass, waking whoever slept for less, in order. */
  readonly pass: (ms: number) => Promise<void>;
  /** How many sleep now. */
  readonly sleepers: () => number;
  /** Every wait that was asked for, in order. */
  readonly slept: readonly number[];
}

/** Lets everything that can go on without time passing do so. */
export const settle = async (turns = 60): Promise<void> => {
  for (let n = 0; n < turns; n += 1) await Promise.resolve();
};

export const makeFakeClock = (): FakeClock => {
  let now = 0;
  const slept: number[] = [];
  const sleeping = new Set<{ readonly until: number; readonly wake: () => void }>();
  return {
    now: () => now,
    sleep: async (ms, signal) => {
      slept.push(ms);
      if (signal?.aborted === true) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const sleeper = { until: now + ms, wake: resolve };
      sleeping.add(sleeper);
      signal?.addEventListener("abort", () => resolve(), { once: true });
      await promise;
      sleeping.delete(sleeper);
    },
    pass: async (ms) => {
      const end = now + ms;
      for (;;) {
        await settle();
        const next = [...sleeping].toSorted((a, b) => a.until - b.until)[0];
        if (next === undefined || next.until > end) break;
        now = Math.max(now, next.until);
        next.wake();
        sleeping.delete(next);
      }
      now = end;
      await settle();
    },
    sleepers: () => sleeping.size,
    slept,
  };
};

export interface FakeLogger extends Logger {
  readonly lines: { readonly level: string; readonly fields: LogFields; readonly message: string }[];
}

export const makeFakeLogger = (): FakeLogger => {
  const lines: FakeLogger["lines"] = [];
  const at = (level: string) => (fields: LogFields, message: string) => {
    lines.push({ level, fields, message });
  };
  const logger: FakeLogger = {
    lines,
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => logger,
  };
  return logger;
};

/** What becomes of a promise: its value, or the code of its PgstreamError. Never rejects. */
export const outcomeOf = async <T>(promise: Promise<T>): Promise<T | string> =>
  await promise.catch((error: unknown) => (error instanceof PgstreamError ? error.code : String(error)));

export const isPending = async (promise: Promise<unknown>): Promise<boolean> => {
  let pending = true;
  void outcomeOf(promise).then(() => {
    pending = false;
  });
  await settle();
  return pending;
};
