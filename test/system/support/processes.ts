//! The binary as processes: started with settings, watched through their log and their health, stopped in every way.

import { tmpdir } from "node:os";

import { waitFor } from "../../support/wait-for.ts";
import { pgstreamBinary } from "./binary.ts";

export interface RoleHealth {
  readonly ready: boolean;
  readonly reason: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface Process extends AsyncDisposable {
  readonly pid: number;
  /** The roles' health; null while it does not answer. */
  readonly health: () => Promise<Readonly<Record<string, RoleHealth>> | null>;
  readonly get: (path: string) => Promise<{ readonly status: number; readonly body: unknown }>;
  /** Everything it wrote so far. */
  readonly output: () => string;
  readonly signal: (signal: NodeJS.Signals) => void;
  /** Sends the signal and waits for the end. */
  readonly stop: (signal: NodeJS.Signals) => Promise<number>;
  readonly exited: Promise<number>;
}

export type Settings = Readonly<Record<string, string>>;

const stopDeadlineMs = 30_000;

const collect = async (stream: ReadableStream<Uint8Array>, onText: (text: string) => void): Promise<void> => {
  const decoder = new TextDecoder();
  for await (const chunk of stream) onText(decoder.decode(chunk, { stream: true }));
};

export const start = async (settings: Settings, ...args: readonly string[]): Promise<Process> => {
  const child = Bun.spawn([await pgstreamBinary(), ...args], {
    cwd: tmpdir(),
    env: { PATH: process.env["PATH"] ?? "", PORT: "0", HOST: "127.0.0.1", LOG_FORMAT: "json", ...settings },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let output = "";
  const append = (text: string): void => {
    output += text;
  };
  const read = Promise.all([collect(child.stdout, append), collect(child.stderr, append)]);
  const exited = child.exited.then(async (code) => {
    await read;
    return code;
  });
  const address = (): string | undefined => /"address":"([^"]+)"/.exec(output)?.[1];
  const fetchJson = async (path: string): Promise<{ status: number; body: unknown } | null> => {
    const base = address();
    if (base === undefined) return null;
    try {
      const response = await fetch(new URL(path, base));
      return { status: response.status, body: await response.json() };
    } catch {
      return null; // not there yet, or not any more
    }
  };
  let ended: { readonly code: number } | null = null;
  void exited.then((code) => {
    ended = { code };
  });
  const stop = async (signal: NodeJS.Signals): Promise<number> => {
    child.kill(signal);
    const { code } = await waitFor(() => ended, {
      what: `the end after ${signal}`,
      deadlineMs: stopDeadlineMs,
    });
    return code;
  };
  return {
    pid: child.pid,
    health: async () =>
      ((await fetchJson("/health/ready"))?.body as { roles: Record<string, RoleHealth> } | undefined)
        ?.roles ?? null,
    get: async (path) => (await fetchJson(path)) ?? { status: 0, body: null },
    output: () => output,
    signal: (signal) => child.kill(signal),
    stop,
    exited,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
};

/** Runs it to its end. */
export const run = async (
  settings: Settings,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly output: string }> => {
  await using process = await start(settings, ...args);
  const code = await process.exited;
  return { code, output: process.output() };
};
