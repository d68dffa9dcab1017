//! `bun run bench`: starts a PostgreSQL, measures in turns, prints a table and writes the figures down. Figures go to
//! stdout, progress to stderr. One event lost, repeated, reordered or altered, and there is no figure at all.

import { existsSync } from "node:fs";
import { join } from "node:path";

import { version } from "../package.json";
import { onStopSignals } from "../src/adapters/runtime/stop-signals.ts";
import { readCommandLine, toldCommand, type Wish } from "./command-line.ts";
import type { Measure } from "./context.ts";
import { readCommit, readMachineFacts } from "./machine.ts";
import { obstacleOf, writeReport } from "./outputs.ts";
import { groups } from "./registry.ts";
import { disturbanceOf, markdownOf, type Report } from "./report.ts";
import { exitCodeOf, measureAll, type Measured, type RunContext } from "./run.ts";
import { type BenchServer, startBenchServer } from "./server.ts";
import { soak } from "./soak.ts";
import { startUsageMeter } from "./usage.ts";
import { quietMsMaxFor, startWatch } from "./watch.ts";

const all = groups.flatMap(({ measures }) => measures);
const choices = [...all, ...groups];

const startedAtMs = performance.now();
let saidAtMs = startedAtMs;
const say = (line: string): void => {
  saidAtMs = performance.now();
  const seconds = ((saidAtMs - startedAtMs) / 1_000).toFixed(1).padStart(6);
  process.stderr.write(`${seconds} s  ${line}\n`);
};

/** How a run may end before it is done. */
interface Endings {
  /** The user has had enough. */
  readonly stopped: AbortSignal;
  /** Rejects when something failed that nobody waited for. */
  readonly broken: Promise<never>;
}

const chosen = ({ only, soakMs }: Wish): readonly Measure[] => {
  if (soakMs !== null) return [soak];
  if (only === null) return all;
  const inGroups = groups.filter(({ name }) => only.includes(name)).flatMap(({ measures }) => measures);
  return all.filter((measure) => only.includes(measure.name) || inGroups.includes(measure));
};

const contextOf = (
  { scale, rounds, eventsMax, soakMs }: Wish,
  server: BenchServer,
  signal: AbortSignal,
): RunContext => ({
  adminUrl: server.adminUrl,
  serverPid: server.pid,
  dataDir: server.dataDir,
  createDatabase: server.createDatabase,
  checkpoint: server.checkpoint,
  scale,
  rounds,
  eventsMax,
  soakMs,
  say,
  signal,
  startMeter: async () => await startUsageMeter(server.pid),
});

/** Measures until it is done, the user has had enough, or the run cannot go on. */
const measure = async (wish: Wish, server: BenchServer, { stopped, broken }: Endings): Promise<Measured> => {
  const { hasEnded, log } = server;
  const quietMs = (): number => performance.now() - saidAtMs;
  const quietMsMax = quietMsMaxFor(wish.scale, wish.eventsMax);
  using watch = startWatch({ hasServerEnded: hasEnded, log, quietMs, quietMsMax });
  const halting = new AbortController();
  const signal = AbortSignal.any([stopped, halting.signal]);
  // A measure may be waiting for anything: the server is closed under it, and nobody asks what it says then.
  const interrupted = Promise.withResolvers<never>();
  stopped.addEventListener("abort", () => interrupted.reject(stopped.reason), { once: true });
  try {
    const measuring = measureAll(chosen(wish), contextOf(wish, server, signal));
    return await Promise.race([measuring, interrupted.promise, broken, watch.failed]);
  } catch (error) {
    halting.abort();
    throw stopped.aborted ? error : await watch.explain(error);
  }
};

const run = async (wish: Wish, endings: Endings): Promise<void> => {
  const date = new Date().toISOString().slice(0, 10);
  say("starting PostgreSQL");
  await using server = await startBenchServer(wish, endings.stopped);
  say(
    `PostgreSQL ${server.version}: ${Object.entries(server.settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(", ")}`,
  );
  const { rows, pictures } = await measure(wish, server, endings);
  const report: Report = {
    date,
    command: toldCommand(process.argv.slice(2)),
    machine: readMachineFacts(),
    versions: { pgstream: version, commit: readCommit(), bun: Bun.version, postgres: server.version },
    settings: server.settings,
    scale: wish.scale,
    rounds: wish.rounds,
    seconds: (performance.now() - startedAtMs) / 1_000,
    ...disturbanceOf(rows),
    rows,
  };
  process.stdout.write(`${markdownOf(report)}\n`);
  await writeReport(wish, report, pictures, say);
};

const runUntilStopped = async (wish: Wish): Promise<number> => {
  const stopping = new AbortController();
  onStopSignals(process, {
    stop: () => {
      say("stopping; a second signal ends at once");
      stopping.abort();
    },
    exit: (code) => process.exit(code),
  });
  const explain = (text: string): void => void process.stderr.write(`bench: ${text}\n`);
  // What nobody waited for ends the run as any failure does, its server stopped and its folder removed. Only the first
  // counts: what a measure left running fails when the server is closed under it.
  const breaking = Promise.withResolvers<never>();
  breaking.promise.catch(() => {}); // it may come before anybody waits for it
  for (const event of ["unhandledRejection", "uncaughtException"]) process.on(event, breaking.reject);
  const endings: Endings = { stopped: stopping.signal, broken: breaking.promise };
  return await exitCodeOf(async () => await run(wish, endings), stopping.signal, explain);
};

/** One line, when the run would come to nothing for where its flags point. */
const mistakeIn = async ({ binDir, ...outputs }: Wish): Promise<string | null> =>
  binDir !== null && !existsSync(join(binDir, "initdb"))
    ? `--bin-dir: there is no initdb in ${binDir}`
    : await obstacleOf(outputs);

const wish = readCommandLine(process.argv.slice(2), choices);
if ("print" in wish) {
  (wish.exitCode === 0 ? process.stdout : process.stderr).write(`${wish.print}\n`);
  process.exit(wish.exitCode);
}
const mistake = await mistakeIn(wish);
if (mistake !== null) {
  process.stderr.write(`bench: ${mistake}\n`);
  process.exit(2);
}
process.exit(await runUntilStopped(wish));
