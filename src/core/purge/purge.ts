//! Retention. One round attaches and rolls segments, finishes what an earlier purger left, and removes what has expired.
//!
//! Retention is a minimum: an event lives at least so long after its commit. What goes is whole segments, when the last
//! of their events is old enough for the longest-lived of their topics; a topic with a shorter retention of its own is
//! trimmed event by event. Age is told by ticks, never by an event's own time: an event of a long transaction would be
//! born expired.
//!
//! What is to go is announced in a committed statement of its own before it goes. A purger may be killed between any two
//! statements: whoever runs the next round finishes.

import type { Backoff } from "../backoff.ts";
import { hasCode, isRetryable, messageOf } from "../errors.ts";
import { keepTrying } from "../keep-trying.ts";
import type { Clock, Logger } from "../ports.ts";
import type {
  AnnouncedPurge,
  ExpiredSegment,
  ExpiredTopic,
  Purging,
  RollLimits,
  UnfinishedPurge,
} from "./purge-port.ts";

export interface PurgeOptions extends RollLimits {
  /** How long events live at least; a topic may have its own. */
  readonly retentionMs: number;
  /** Between two tries of a step that met a lock. */
  readonly backoff: Backoff;
  readonly retriesMax: number;
  /** A step that took longer is left for the next round, whatever tries remain. */
  readonly retryMsMax: number;
  readonly trimEventsMax: number;
  /** In one round, over all topics. */
  readonly trimBatchesMax: number;
  readonly forgetRowsMax: number;
  readonly forgetBatchesMax: number;
  /** Between two batches, so that others get their turn. */
  readonly pauseMs: number;
}

export interface PurgePorts {
  readonly purging: Purging;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
}

export interface StepFailure {
  readonly step: string;
  readonly error: string;
  /** Whether it may succeed in the next round. */
  readonly retryable: boolean;
}

/** What one round did. */
export interface PurgeRound {
  readonly segmentsAttached: number;
  readonly segmentsRolled: number;
  readonly segmentsEmptied: number;
  /** In the segments emptied, as announced. */
  readonly eventsPurged: bigint;
  readonly eventsTrimmed: number;
  readonly rowsForgotten: number;
  readonly failures: readonly StepFailure[];
}

interface Round extends PurgePorts {
  readonly options: PurgeOptions;
  readonly signal: AbortSignal;
  /** Counts what is done. */
  readonly done: { -readonly [Name in keyof Omit<PurgeRound, "failures">]: PurgeRound[Name] };
  readonly failures: StepFailure[];
  trimBatchesLeft: number;
}

/**
 * One step. When it fails for itself, that is noted and the other steps go on; a database that cannot be reached ends the
 * round. Answers null when it failed, or was not begun because the signal had aborted.
 */
const step = async <T>(round: Round, name: string, work: () => Promise<T>): Promise<T | null> => {
  const { clock, random, signal, options, logger } = round;
  const startedAt = clock.now();
  try {
    return await keepTrying(work, {
      backoff: options.backoff,
      clock,
      random,
      signal,
      shouldRetry: (error, attempt) =>
        hasCode(error, "database_error") &&
        error.retryable &&
        attempt < options.retriesMax &&
        clock.now() - startedAt < options.retryMsMax,
    });
  } catch (error) {
    if (!hasCode(error, "database_error", "permission_denied")) throw error;
    round.failures.push({ step: name, error: messageOf(error), retryable: isRetryable(error) });
    logger.warn({ step: name, error }, "a step of the purge failed; it is left for the next round");
    return null;
  }
};

const attach = async (round: Round): Promise<void> => {
  const attached = await step(round, "attach segments", round.purging.prepareSegments);
  round.done.segmentsAttached += attached ?? 0;
};

const roll = async (round: Round): Promise<void> => {
  await attach(round);
  const work = async (): Promise<boolean> => await round.purging.rollSegment(round.options);
  if ((await step(round, "roll the segment", work)) !== true) return;
  round.done.segmentsRolled += 1;
  round.logger.info({}, "moved on to the next segment");
  await attach(round);
};

/** Answers whether it emptied the segment. */
const empty = async (round: Round, segment: number, { id, events }: AnnouncedPurge): Promise<boolean> => {
  const work = async (): Promise<boolean | null> => await round.purging.emptySegment(id);
  const isEmpty = await step(round, `empty segment ${segment}`, work);
  if (isEmpty === true) {
    round.done.segmentsEmptied += 1;
    round.done.eventsPurged += events;
    round.logger.info({ segment, events: String(events) }, "segment emptied");
  }
  if (isEmpty === false) round.logger.info({ segment }, "something newer came into the segment; it lives on");
  return isEmpty ?? false;
};

const trim = async (round: Round, topic: string, purge: bigint): Promise<void> => {
  const { purging, clock, signal, options } = round;
  const batch = async (): Promise<number> => await purging.trimTopic(purge, options.trimEventsMax);
  while (round.trimBatchesLeft > 0) {
    round.trimBatchesLeft -= 1;
    const removed = await step(round, `trim ${topic}`, batch);
    round.done.eventsTrimmed += removed ?? 0;
    if (removed === null || removed < options.trimEventsMax) return;
    await clock.sleep(options.pauseMs, signal);
  }
};

/** Finishes what was announced before. Answers whether no segment is left over. */
const finish = async (round: Round): Promise<boolean> => {
  const unfinished = await step(round, "find unfinished purges", round.purging.unfinishedPurges);
  const finishOne = async (purge: UnfinishedPurge): Promise<boolean> => {
    if (purge.segment !== null) return await empty(round, purge.segment, purge);
    await trim(round, `topic ${purge.topicId}`, purge.id);
    return true;
  };
  let isClear = unfinished !== null;
  for (const it of unfinished ?? []) isClear = (await finishOne(it)) && isClear;
  return isClear;
};

/** In order, and none after one that could not be emptied: below the floor everything is gone. */
const emptyExpired = async (round: Round): Promise<void> => {
  const { purging, options } = round;
  const find = async (): Promise<readonly ExpiredSegment[]> =>
    await purging.expiredSegments(options.retentionMs, { counted: false });
  for (const expired of (await step(round, "find expired segments", find)) ?? []) {
    const { segment } = expired;
    const announce = async () => await purging.announceSegmentPurge(expired);
    const purge = await step(round, `announce the purge of segment ${segment}`, announce);
    if (purge === null || !(await empty(round, segment, purge))) return;
  }
};

const trimExpired = async (round: Round): Promise<void> => {
  const { purging, options } = round;
  const find = async (): Promise<readonly ExpiredTopic[]> =>
    await purging.expiredTopics(options.retentionMs, { counted: false });
  for (const expired of (await step(round, "find topics to trim", find)) ?? []) {
    if (round.trimBatchesLeft === 0) return;
    const announce = async () => await purging.announceTopicPurge(expired);
    const purge = await step(round, `announce the trimming of ${expired.name}`, announce);
    if (purge !== null) await trim(round, expired.name, purge.id);
  }
};

const forget = async (round: Round): Promise<void> => {
  const { purging, clock, signal, options } = round;
  const batch = async (): Promise<number> => await purging.forget(options.retentionMs, options.forgetRowsMax);
  for (let left = options.forgetBatchesMax; left > 0; left -= 1) {
    const rows = await step(round, "forget", batch);
    round.done.rowsForgotten += rows ?? 0;
    if (rows === null || rows < options.forgetRowsMax) return;
    await clock.sleep(options.pauseMs, signal);
  }
};

const openRound = (ports: PurgePorts, options: PurgeOptions, signal: AbortSignal): Round => ({
  ...ports,
  options,
  signal,
  done: {
    segmentsAttached: 0,
    segmentsRolled: 0,
    segmentsEmptied: 0,
    eventsPurged: 0n,
    eventsTrimmed: 0,
    rowsForgotten: 0,
  },
  failures: [],
  trimBatchesLeft: options.trimBatchesMax,
});

/**
 * Attaches and rolls segments and nothing else, each tried once: who does it again soon.
 * @throws PgstreamError as a round does
 */
export const rollOnce = async (
  ports: PurgePorts,
  options: PurgeOptions,
  signal: AbortSignal,
): Promise<void> => {
  await roll(openRound(ports, { ...options, retriesMax: 0 }, signal));
};

/**
 * One round. Null when another purger is at work: there is nothing to do then. After the signal aborts, the statement in
 * hand is finished and no other begun.
 * @throws PgstreamError what only a new connection, a person or nobody can mend; a retryable one is for a later round
 */
export const purgeOnce = async (
  ports: PurgePorts,
  options: PurgeOptions,
  signal: AbortSignal,
): Promise<PurgeRound | null> => {
  if (!(await ports.purging.lead())) return null;
  const round = openRound(ports, options, signal);
  await roll(round);
  if (await finish(round)) await emptyExpired(round);
  await trimExpired(round);
  await forget(round);
  return { ...round.done, failures: round.failures };
};
