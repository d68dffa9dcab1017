//! One run of the `postgres` program, from spawn to exit. Its log is kept short for errors and passed on line by line.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { type Account, childEnvironment } from "./run-command.ts";

export interface Postmaster {
  readonly pid: number;
  /** Resolves when the process has ended, however it did. */
  readonly exited: Promise<number>;
  readonly hasExited: () => boolean;
  readonly signal: (signal: NodeJS.Signals) => void;
  /** The end of its log, oldest line first. */
  readonly logTail: () => readonly string[];
  /** Whether it says that it accepts connections. */
  readonly isReady: () => Promise<boolean>;
}

const logTailLinesMax = 30;

// Line 8 of this file is what pg_ctl waits for too; line 1 tells a stale file of an earlier run from ours.
const readStatus = async (dataDir: string, pid: number): Promise<string> => {
  try {
    const lines = (await readFile(join(dataDir, "postmaster.pid"), "utf8")).split("\n");
    return Number(lines[0]) === pid ? (lines[7] ?? "").trim() : "";
  } catch {
    return ""; // not written yet
  }
};

const forEachLine = async (
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> => {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  }
  if (rest !== "") onLine(rest);
};

/** Server settings by name, as in postgresql.conf. */
export type ServerSettings = Readonly<Record<string, string | number | boolean>>;

export interface PostmasterOptions {
  readonly binDir: string;
  readonly dataDir: string;
  readonly account: Account | undefined;
  readonly settings: ServerSettings;
  readonly onLog: (line: string) => void;
}

const settingText = (value: string | number | boolean): string =>
  typeof value === "boolean" ? (value ? "on" : "off") : String(value);

export const spawnPostmaster = (options: PostmasterOptions): Postmaster => {
  const settings = Object.entries(options.settings).flatMap(([name, value]) => [
    "-c",
    `${name}=${settingText(value)}`,
  ]);
  const child = Bun.spawn([join(options.binDir, "postgres"), "-D", options.dataDir, ...settings], {
    ...options.account,
    cwd: "/",
    env: childEnvironment,
    // A session of its own: Ctrl-C in our terminal must not stop the database before we have drained.
    detached: true,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const tail: string[] = [];
  const logEnd = forEachLine(child.stderr, (line) => {
    tail.push(line);
    if (tail.length > logTailLinesMax) tail.shift();
    options.onLog(line);
  });
  return {
    pid: child.pid,
    // After SIGKILL its children hold the log's pipe open for a while, so only the exit is waited for.
    exited: child.exited.then(async (code) => {
      await Promise.race([logEnd, Bun.sleep(100)]);
      return code;
    }),
    hasExited: () => child.exitCode !== null || child.signalCode !== null,
    signal: (signal) => child.kill(signal),
    logTail: () => [...tail],
    isReady: async () => (await readStatus(options.dataDir, child.pid)) === "ready",
  };
};
