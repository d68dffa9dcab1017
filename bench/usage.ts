//! Who used the processors: the server, we, or somebody else. Read before and after, never while the clock runs.

import { readdir, readFile } from "node:fs/promises";
import os from "node:os";

import type { UsageMeter } from "./context.ts";

interface ProcessTime {
  readonly pid: number;
  readonly parent: number;
  /** Its own CPU time and that of its children that have ended. */
  readonly seconds: number;
}

// USER_HZ, which Linux keeps at 100 for whoever reads /proc.
const ticksPerSecond = 100;
/** kthreadd: what its children do is mostly writing out what we wrote. */
const kernelPid = 2;

/**
 * `pid (name) state ppid …`: the name may hold anything, so what follows its last bracket is counted from.
 * @param scheduled of its first thread, nanoseconds first: the only one a server process has, and exact, where ticks of
 * 10 ms lose what 64 sessions did in a moment
 */
export const parseProcStat = (text: string, scheduled = ""): ProcessTime => {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const at = (field: number): number => Number(fields[field - 3]);
  const own = Math.max((at(14) + at(15)) / ticksPerSecond, (Number.parseInt(scheduled, 10) || 0) / 1e9);
  const seconds = own + (at(16) + at(17)) / ticksPerSecond;
  return { pid: Number.parseInt(text, 10), parent: at(4), seconds };
};

const readOr = async (file: string, otherwise: string): Promise<string> => {
  try {
    return await readFile(file, "utf8");
  } catch {
    return otherwise; // it has ended meanwhile, or this kernel does not say
  }
};

/** A line of `ps -o pid=,ppid=,time=`, where the time is `[[dd-]hh:]mm:ss[.cc]`. */
export const parsePsLine = (line: string): ProcessTime => {
  const [pid, parent, time = ""] = line.trim().split(/\s+/);
  const [days, clock] = time.includes("-") ? time.split("-") : ["0", time];
  const seconds = (clock ?? "").split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
  return { pid: Number(pid), parent: Number(parent), seconds: Number(days) * 86_400 + seconds };
};

const readProc = async (): Promise<readonly ProcessTime[]> => {
  const names = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const all = await Promise.all(
    names.map(async (name) => {
      const [text, scheduled] = await Promise.all([
        readOr(`/proc/${name}/stat`, ""),
        readOr(`/proc/${name}/schedstat`, ""),
      ]);
      return text === "" ? null : parseProcStat(text, scheduled);
    }),
  );
  return all.filter((it) => it !== null);
};

const readPs = async (): Promise<readonly ProcessTime[]> => {
  const child = Bun.spawn(["ps", "-A", "-o", "pid=,ppid=,time="], { stdout: "pipe", stderr: "ignore" });
  const text = await child.stdout.text();
  return text
    .trim()
    .split("\n")
    .map((line) => parsePsLine(line));
};

/** Of the process and all below it, but for the branch of one of them. */
export const secondsBelow = (all: readonly ProcessTime[], root: number, without?: number): number => {
  const children = Map.groupBy(all, ({ parent }) => parent);
  const own = all.find(({ pid }) => pid === root)?.seconds ?? 0;
  const below = (pid: number): number =>
    (children.get(pid) ?? [])
      .filter((it) => it.pid !== without)
      .reduce((sum, it) => sum + it.seconds + below(it.pid), 0);
  return own + below(root);
};

/** Seconds that all processors together were busy, those that a hypervisor gave to others included. */
const readMachine = async (isLinux: boolean): Promise<number> => {
  if (!isLinux) {
    return os.cpus().reduce((sum, { times }) => sum + (times.user + times.nice + times.sys) / 1_000, 0);
  }
  const [line = ""] = (await readFile("/proc/stat", "utf8")).split("\n");
  const [user = 0, nice = 0, system = 0, , , , , steal = 0] = line.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + steal) / ticksPerSecond;
};

interface Reading {
  readonly atMs: number;
  readonly server: number;
  readonly client: number;
  readonly others: number;
}

const read = async (serverPid: number): Promise<Reading> => {
  const isLinux = process.platform === "linux";
  const atMs = performance.now();
  const [all, machine] = await Promise.all([isLinux ? readProc() : readPs(), readMachine(isLinux)]);
  const server = secondsBelow(all, serverPid);
  const client = secondsBelow(all, process.pid, serverPid);
  const kernel = isLinux ? secondsBelow(all, kernelPid) : 0;
  return { atMs, server, client, others: machine - server - client - kernel };
};

export const startUsageMeter = async (serverPid: number): Promise<UsageMeter> => {
  const before = await read(serverPid);
  return {
    read: async () => {
      const now = await read(serverPid);
      const wallSeconds = Math.max(0.001, (now.atMs - before.atMs) / 1_000);
      const available = wallSeconds * os.availableParallelism();
      return {
        wallSeconds,
        serverCpuSeconds: Math.max(0, now.server - before.server),
        clientCpuSeconds: Math.max(0, now.client - before.client),
        othersShare: Math.min(1, Math.max(0, (now.others - before.others) / available)),
      };
    },
  };
};
