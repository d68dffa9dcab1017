//! A role whose every step is under the test's control.

import { readConfig, type Config } from "../../../src/config/config.ts";
import type { Logger } from "../../../src/core/ports.ts";
import type { Role, RoleContext, RunningRole } from "../../../src/roles/role.ts";

export interface FakeRole {
  readonly role: Role;
  /** Resolves when the process starts it. */
  readonly started: Promise<void>;
  /** Resolves when the process asks it to stop. */
  readonly stopping: Promise<void>;
  /** What happened to it, in order. */
  readonly story: readonly string[];
  /** Lets a start that was told to wait go on. */
  readonly proceed: () => void;
  readonly end: () => void;
  readonly fail: (error: Error) => void;
  /** Lets a stop that was told to wait go on. */
  readonly drained: () => void;
}

export interface FakeOptions {
  /** Start only when told to proceed, or give up at the signal. */
  readonly waits?: boolean;
  /** Start fails with this. */
  readonly broken?: Error;
  /** Stop only when told that it is drained. */
  readonly drains?: boolean;
  readonly stopFails?: Error;
  readonly routes?: RunningRole["routes"];
}

export const fakeRole = (options: FakeOptions = {}): FakeRole => {
  const story: string[] = [];
  const started = Promise.withResolvers<void>();
  const stopping = Promise.withResolvers<void>();
  const proceed = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  const drained = Promise.withResolvers<void>();
  const end = (): void => {
    story.push("ends");
    done.resolve();
  };
  const stop = async (): Promise<void> => {
    story.push("stops");
    stopping.resolve();
    if (options.drains === true) await drained.promise;
    if (options.stopFails !== undefined) throw options.stopFails;
    done.resolve();
  };
  const role: Role = async ({ signal }) => {
    story.push("starts");
    started.resolve();
    signal.addEventListener("abort", () => {
      story.push("is told to stop");
      proceed.reject(new Error("aborted"));
    });
    if (options.broken !== undefined) throw options.broken;
    if (options.waits === true) await proceed.promise;
    return {
      status: () => ({ ready: true, reason: null, details: {} }),
      ...(options.routes !== undefined && { routes: options.routes }),
      done: done.promise,
      stop,
    };
  };
  proceed.promise.catch(() => undefined);
  return {
    role,
    started: started.promise,
    stopping: stopping.promise,
    story,
    proceed: proceed.resolve,
    end,
    fail: done.reject,
    drained: drained.resolve,
  };
};

export interface LoggedLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export const memoryLogger = (
  lines: LoggedLine[] = [],
  base: Readonly<Record<string, unknown>> = {},
): Logger & { readonly lines: readonly LoggedLine[] } => {
  const at =
    (level: string): Logger["info"] =>
    (fields, message) =>
      void lines.push({ level, message, fields: { ...base, ...fields } });
  return {
    lines,
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => memoryLogger(lines, { ...base, ...fields }),
  };
};

export const configOf = (env: Readonly<Record<string, string>> = {}): Config =>
  readConfig({ flags: new Map(), env, readFile: () => "" }).config;

/** A context on a clock that only moves when told; `asleep` is the first sleep. */
export const fakeContext = (env: Readonly<Record<string, string>> = {}) => {
  const stopping = new AbortController();
  const logger = memoryLogger();
  const asleep = Promise.withResolvers<{ readonly ms: number; readonly wake: () => void }>();
  const context: RoleContext = {
    config: configOf(env),
    logger,
    signal: stopping.signal,
    clock: {
      now: () => 0,
      sleep: async (ms, signal) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        asleep.resolve({ ms, wake: resolve });
        signal?.addEventListener("abort", () => resolve(), { once: true });
        await promise;
      },
    },
  };
  return { context, lines: logger.lines, asleep: asleep.promise, interrupt: () => stopping.abort() };
};
