//! Purges the log at once and then on a schedule, and keeps its ticks flowing. Several may run: one is at work, the others
//! stand by. Takes two connections.

import { openSchedule } from "../adapters/croner/schedule.ts";
import { openClient, readCommitted } from "../adapters/postgres/client.ts";
import { makePurging, purgingSession } from "../adapters/postgres/purge/purge-log.ts";
import { printLines } from "../adapters/runtime/output.ts";
import type { Config } from "../config/config.ts";
import { databaseFor } from "../config/database-target.ts";
import type { Schedule } from "../core/purge/purge-due.ts";
import { figuresOf, runPurger, type PurgerOptions, type PurgerProgress } from "../core/purge/purge-loop.ts";
import { previewPurge } from "../core/purge/purge-preview.ts";
import type { Readiness } from "../http/health.ts";
import type { Role, RoleContext, RunningRole } from "./role.ts";
import { waitForDatabase } from "./wait-for-database.ts";

const statementTimeoutMs = 30_000;

const optionsOf = ({ purger }: Config): PurgerOptions => ({
  retentionMs: purger.retentionMs,
  ageMsMax: purger.segmentIntervalMs,
  bytesMax: purger.segmentBytesMax,
  backoff: { delayMsMin: 50, delayMsMax: 1_000 },
  retriesMax: 8,
  retryMsMax: 15_000,
  trimEventsMax: 5_000,
  trimBatchesMax: 200,
  forgetRowsMax: 10_000,
  forgetBatchesMax: 100,
  pauseMs: 20,
  tickIntervalMs: 1_000,
  reconnect: { delayMsMin: 100, delayMsMax: 5_000 },
});

const statusOf = (
  { obstacle, tickObstacle, isLeading, last, purgedEvents }: PurgerProgress,
  schedule: Schedule,
  now: number,
): Readiness => {
  const broken = last?.round.failures.find((it) => !it.retryable);
  const reason = obstacle ?? tickObstacle ?? (broken === undefined ? null : `cannot ${broken.step}`);
  return {
    ready: reason === null,
    reason,
    details: {
      atWork: isLeading,
      purgedEvents: Number(purgedEvents),
      nextRoundAt: schedule.next()?.at.toISOString() ?? null,
      ...(last !== null && { lastRoundAgoMs: Math.round(now - last.at), lastRound: figuresOf(last.round) }),
    },
  };
};

const work = async (
  context: RoleContext,
  schedule: Schedule,
  progress: PurgerProgress,
  signal: AbortSignal,
): Promise<void> => {
  const { config, clock, logger } = context;
  const target = databaseFor(config.database.targets, "purger");
  const options = optionsOf(config);
  const deadlineMs = statementTimeoutMs;
  await using client = openClient(target, { name: "purger", deadlineMs, session: purgingSession, signal });
  await using ticker = openClient(target, {
    name: "purger ticks",
    deadlineMs,
    session: readCommitted,
    signal,
  });
  const isReady = await waitForDatabase({ client, as: "purger" }, context, signal, (reason) => {
    progress.obstacle = reason;
  });
  if (!isReady) return;
  const purging = makePurging(client, ticker);
  if (config.purger.dryRun) {
    await printLines(await previewPurge(purging, options.retentionMs));
    return;
  }
  await runPurger({ purging, schedule, clock, random: Math.random, logger }, options, progress, signal);
};

/**
 * With DRY_RUN it prints what would go and ends.
 * @throws PgstreamError `invalid_config` when PURGE_SCHEDULE is no pattern, or one that never comes true, or when there
 * is no database
 */
export const purger: Role = async (context) => {
  const { config, clock } = context;
  const schedule = openSchedule(config.purger.schedule, "PURGE_SCHEDULE");
  databaseFor(config.database.targets, "purger");
  const stopping = new AbortController();
  const signal = AbortSignal.any([context.signal, stopping.signal]);
  const progress: PurgerProgress = {
    obstacle: "waits for the database",
    tickObstacle: null,
    isLeading: false,
    last: null,
    purgedEvents: 0n,
  };
  const done = work(context, schedule, progress, signal);
  const running: RunningRole = {
    status: () => statusOf(progress, schedule, clock.now()),
    done,
    stop: async () => {
      stopping.abort();
      await done.catch(() => undefined); // whoever waits for `done` is told
    },
  };
  return await Promise.resolve(running);
};
