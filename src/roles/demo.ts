//! `pgstream demo`: all roles in this process, on an embedded PostgreSQL and a SQLite file; then everything is compared.

import type { Logger } from "../core/ports.ts";
import type { Command, CommandContext } from "./command.ts";
import { type DemoFigures, formatFigures, readFigures } from "./demo-board.ts";
import { type DemoStage, setDemoStage } from "./demo-stage.ts";
import { openDoor } from "./door.ts";
import { registry } from "./registry.ts";
import { runRoles, type Scene } from "./run.ts";
import { entriesOf } from "./serve.ts";
import { verify } from "./verify.ts";
import { whenAborted } from "./when-aborted.ts";

const boardIntervalMs = 1_000;
const drainTimeoutMs = 10_000;
const pollIntervalMs = 50;

/** The board tells what goes on; the log only what goes wrong. */
const onlyProblems = (logger: Logger): Logger => ({
  ...logger,
  info: logger.debug,
  child: (fields) => onlyProblems(logger.child(fields)),
});

const introduce = (
  { postgresVersion, databaseUrl }: DemoStage,
  url: string,
  print: (line: string) => void,
): void => {
  print(
    `PostgreSQL ${postgresVersion} with a producer, a consumer and a purger, all in this process. Ctrl-C ends it.`,
  );
  print(`  the events    psql '${databaseUrl}' -c 'select count(*) from events'`);
  print(`  the courses   curl ${url}courses`);
  print(`  the health    curl ${url}health/ready`);
  print("Events live for a few seconds here, so that you can see them go.");
};

/** Shows the figures until the signal aborts, with the time since the demo was started, PostgreSQL's own start included. */
const showBoard = async (
  figures: () => DemoFigures,
  { clock, print, show }: CommandContext,
  { startedAt, signal }: { readonly startedAt: number; readonly signal: AbortSignal },
): Promise<void> => {
  let isFirstShown = false;
  while (!signal.aborted) {
    await clock.sleep(isFirstShown ? boardIntervalMs : pollIntervalMs, signal);
    const now = figures();
    const seconds = (clock.now() - startedAt) / 1_000;
    if (!isFirstShown && now.handled > 0) print(`first event handled after ${seconds.toFixed(1)} s`);
    else if (!isFirstShown) continue;
    isFirstShown = true;
    show(formatFigures(now, Math.round(seconds)));
  }
};

/** Plays until time is up or somebody stops it, the producer first; answers the exit code of the roles. */
const play = async (
  stage: DemoStage,
  context: CommandContext,
  { startedAt, forMs }: { readonly startedAt: number; readonly forMs: number | null },
): Promise<number> => {
  const { config } = stage;
  const logger = onlyProblems(context.logger);
  const door = await openDoor(config.process, { logger, version: context.version });
  introduce(stage, door.url.replace("0.0.0.0", "localhost"), context.print);
  const [producing, others, ended] = [new AbortController(), new AbortController(), new AbortController()];
  const scenes: Scene[] = [];
  const show = (index: number) => (scene: Scene) => {
    scenes[index] = scene;
    door.show({ roles: scenes.flatMap(({ roles }) => roles), isStopping: others.signal.aborted });
  };
  const figures = (): DemoFigures => readFigures(scenes.flatMap(({ roles }) => roles));
  const run = async (
    names: typeof config.process.roles,
    stop: AbortController,
    index: number,
  ): Promise<number> =>
    await runRoles(
      entriesOf(names, registry),
      { ...context, config, logger, signal: stop.signal },
      show(index),
    );

  const isProducer = (name: string): boolean => name === "producer";
  const rest = run(
    config.process.roles.filter((name) => !isProducer(name)),
    others,
    0,
  );
  const producer = run(config.process.roles.filter(isProducer), producing, 1);
  const signal = AbortSignal.any([producing.signal, others.signal]);
  const board = showBoard(figures, context, { startedAt, signal });
  const timeUp = forMs === null ? whenAborted(context.signal) : context.clock.sleep(forMs, context.signal);
  await Promise.race([timeUp, rest, producer]);
  producing.abort();
  const codes = [await producer];
  const drained = async (): Promise<void> => {
    while (!ended.signal.aborted && (figures().handled < figures().published || !figures().isLive)) {
      await context.clock.sleep(pollIntervalMs, ended.signal);
    }
  };
  await Promise.race([drained(), rest, context.clock.sleep(drainTimeoutMs, ended.signal)]);
  ended.abort();
  others.abort();
  codes.push(await rest);
  await board;
  await door.close();
  return Math.max(...codes);
};

export const demo: Command = async (config, context) => {
  const startedAt = context.clock.now();
  context.print("starting PostgreSQL …");
  await using stage = await setDemoStage(config);
  const code = await play(stage, context, { startedAt, forMs: config.demo.forMs });
  context.print("");
  context.print("what is still in the log, compared with the consumer's receipts, id by id:");
  return Math.max(code, await verify(stage.config, context));
};
