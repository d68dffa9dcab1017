//! A purger at work: a round at once and then on schedule, ticks and rolling all the while. A database that cannot be reached is waited
//! for, without end.

import type { Backoff } from "../backoff.ts";
import { messageOf, PgstreamError } from "../errors.ts";
import { keepTrying } from "../keep-trying.ts";
import { untilDue, type Schedule } from "./purge-due.ts";
import { keepTicking } from "./purge-ticks.ts";
import { purgeOnce, type PurgeOptions, type PurgePorts, type PurgeRound, rollOnce } from "./purge.ts";

export interface PurgerOptions extends PurgeOptions {
  readonly tickIntervalMs: number;
  readonly reconnect: Backoff;
}

export interface PurgerPorts extends PurgePorts {
  readonly schedule: Schedule;
}

/** What a purger tells of itself while it runs. */
export interface PurgerProgress {
  /** What it waits for; null when a round was done, or another purger is at work. */
  obstacle: string | null;
  /** Why no tick can be taken; null when they can. Told within seconds, where rounds are minutes apart. */
  tickObstacle: string | null;
  isLeading: boolean;
  /** The last round of its own, and when it ended by the Clock. */
  last: { readonly round: PurgeRound; readonly at: number } | null;
  /** What all its rounds removed. */
  purgedEvents: bigint;
}

const logIntervalMs = 30_000;
/** Besides in each round: events may be removed at night only, and still arrive all day. */
const rollIntervalMs = 60_000;

type Stubborn = <T>(work: () => Promise<T>) => Promise<T | null>;

/**
 * Tries again for as long as that may help, and says now and then why it waits. Answers null when the signal aborted
 * before.
 */
const makeStubborn = (
  { clock, random, logger }: Pick<PurgerPorts, "clock" | "random" | "logger">,
  backoff: Backoff,
  progress: PurgerProgress,
  signal: AbortSignal,
): Stubborn => {
  let loggedAt = -Infinity;
  const shouldRetry = (error: unknown): boolean => {
    if (!(error instanceof PgstreamError && error.retryable)) return false;
    progress.obstacle = `waits: ${error.code}`;
    if (clock.now() - loggedAt >= logIntervalMs) {
      loggedAt = clock.now();
      logger.warn({ code: error.code, reason: messageOf(error) }, "the purger waits and tries again");
    }
    return true;
  };
  return async (work) => await keepTrying(work, { backoff, clock, random, signal, shouldRetry });
};

/** A round's figures as plain values, for the log and for health. */
export const figuresOf = ({
  failures,
  eventsPurged,
  ...counts
}: PurgeRound): Readonly<Record<string, unknown>> => ({
  ...counts,
  eventsPurged: String(eventsPurged),
  failures: failures.map(({ step, error }) => `${step}: ${error}`),
});

const purgeOnSchedule = async (
  ports: PurgerPorts,
  options: PurgerOptions,
  progress: PurgerProgress,
  signal: AbortSignal,
): Promise<void> => {
  const { clock, logger, schedule } = ports;
  const stubbornly = makeStubborn(ports, options.reconnect, progress, signal);
  while (!signal.aborted) {
    const round = await stubbornly(async () => {
      const it = await purgeOnce(ports, options, signal);
      progress.isLeading = it !== null;
      progress.obstacle = null;
      return it;
    });
    if (round !== null) {
      progress.last = { round, at: clock.now() };
      progress.purgedEvents += round.eventsPurged + BigInt(round.eventsTrimmed);
      const removed = round.eventsPurged > 0n || round.eventsTrimmed > 0;
      logger[removed ? "info" : "debug"](figuresOf(round), "purged");
    }
    await untilDue(schedule, clock, signal);
  }
};

/**
 * Runs until the signal aborts; then resolves when the statement in hand is done.
 * @throws PgstreamError what waiting cannot mend
 */
export const runPurger = async (
  ports: PurgerPorts,
  options: PurgerOptions,
  progress: PurgerProgress,
  signal: AbortSignal,
): Promise<void> => {
  // When one of the two fails, the other must have ended before the caller closes the connections.
  const failing = new AbortController();
  const running = AbortSignal.any([signal, failing.signal]);
  const { purging, clock } = ports;
  const lead = async (): Promise<boolean> => {
    progress.isLeading = await purging.lead();
    return progress.isLeading;
  };
  let rolledAt = clock.now();
  const tick = async (): Promise<void> => {
    await purging.tick();
    if (clock.now() - rolledAt < rollIntervalMs) return;
    rolledAt = clock.now();
    await rollOnce(ports, options, running);
  };
  const onState = (failure: string | null): void => {
    progress.tickObstacle = failure === null ? null : `cannot take ticks: ${failure}`;
  };
  const endings = await Promise.allSettled(
    [
      purgeOnSchedule(ports, options, progress, running),
      keepTicking({ ...ports, lead, tick, onState }, options.tickIntervalMs, running),
    ].map(async (it) => await it.finally(() => failing.abort())),
  );
  for (const ending of endings) if (ending.status === "rejected") throw ending.reason;
};
