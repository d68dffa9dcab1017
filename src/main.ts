//! The process: reads what it was told, runs one command, and turns its outcome into an exit code. The only file besides
//! adapters/runtime that touches `process`.

import { readFileSync } from "node:fs";

import { version } from "../package.json";
import { makeClock } from "./adapters/runtime/clock.ts";
import { crashExitCode, onCrashes } from "./adapters/runtime/crashes.ts";
import { makeOutput, toWhoeverReads } from "./adapters/runtime/output.ts";
import { makeRedact } from "./adapters/runtime/redact.ts";
import { onStopSignals } from "./adapters/runtime/stop-signals.ts";
import { readCommandLine } from "./config/command-line.ts";
import { readConfig, type ReadConfig } from "./config/config.ts";
import { databaseFor } from "./config/database-target.ts";
import { refuseHostileEnvironment } from "./config/environment.ts";
import { hasCode, messageOf, PgstreamError } from "./core/errors.ts";
import type { Logger } from "./core/ports.ts";
import type { Commands } from "./roles/command.ts";
import { commands } from "./roles/commands.ts";

const openLog = async ({ config, secrets }: ReadConfig): Promise<Logger> => {
  // Asking for the version or making a mistake should not wait for the logging library.
  const { openLogger } = await import("./adapters/runtime/logger.ts");
  const { logLevel, logFormat } = config.process;
  const isTerminal = process.stdout.isTTY;
  const format = logFormat === "auto" ? (isTerminal ? "pretty" : "json") : logFormat;
  const isColored = isTerminal && (process.env["NO_COLOR"] ?? "") === "";
  return await openLogger({ level: logLevel, format, isColored, secrets });
};

const watchProcess = (logger: Logger): AbortSignal => {
  const stopping = new AbortController();
  onStopSignals(process, {
    stop: (signal) => {
      logger.info({ signal }, "stopping; a second signal ends at once");
      stopping.abort();
    },
    exit: (code) => process.exit(code),
  });
  onCrashes(process, (error) => {
    logger.error({ error }, "crashed");
    process.exit(crashExitCode);
  });
  return stopping.signal;
};

const run = async (commands: Commands): Promise<number> => {
  refuseHostileEnvironment(process.env, { compiled: Bun.isStandaloneExecutable });
  const wish = readCommandLine(process.argv.slice(2), { version, commands });
  const out = Bun.stdout.writer();
  // The sink takes everything in order; `end` below waits for it.
  const { print, show } = makeOutput((text) => void out.write(text), process.stdout.isTTY);
  try {
    if ("print" in wish) {
      print(wish.print.trimEnd());
      return 0;
    }
    const read = readConfig({
      flags: wish.flags,
      env: process.env,
      readFile: (path) => readFileSync(path, "utf8"),
    });
    const { config, given } = read;
    const entry = commands[wish.command];
    if (entry === undefined) throw new PgstreamError("internal", `no command ${wish.command}`);
    for (const role of entry.databases(config)) databaseFor(config.database.targets, role);

    const logger = await openLog(read);
    const signal = watchProcess(logger);
    logger.debug({ command: wish.command, version, given }, "configured");
    const command = await entry.load();
    return await command(config, { version, logger, clock: makeClock(), signal, print, show });
  } finally {
    await toWhoeverReads(async () => await out.end());
  }
};

const explain = (error: unknown): number => {
  const line =
    error instanceof PgstreamError
      ? messageOf(error)
      : `bug: ${String(error instanceof Error ? error.stack : error)}`;
  process.stderr.write(`pgstream: ${makeRedact([])(line)}\n`);
  if (hasCode(error, "invalid_config")) return 2;
  return error instanceof PgstreamError ? 1 : crashExitCode;
};

export const main = async (commands: Commands): Promise<never> =>
  process.exit(await run(commands).catch(explain));

if (import.meta.main) void main(commands);
