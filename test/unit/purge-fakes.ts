//! A log to purge that is all in memory, and a clock that only sleeping moves.

import type { Clock, Logger } from "../../src/core/ports.ts";
import type {
  ExpiredSegment,
  ExpiredTopic,
  Purging,
  UnfinishedPurge,
} from "../../src/core/purge/purge-port.ts";
import type { PurgeOptions } from "../../src/core/purge/purge.ts";

export const options: PurgeOptions = {
  retentionMs: 1_000,
  ageMsMax: 1_000,
  bytesMax: 1_000,
  backoff: { delayMsMin: 10, delayMsMax: 100 },
  retriesMax: 3,
  retryMsMax: 1_000,
  trimEventsMax: 10,
  trimBatchesMax: 5,
  forgetRowsMax: 10,
  forgetBatchesMax: 4,
  pauseMs: 7,
};

export const expiredSegment = (segment: number): ExpiredSegment => ({
  segment,
  floor: "9:9:",
  openedAt: new Date(0),
  closedAt: new Date(86_400_000),
  closedAgoMs: 3 * 86_400_000 + 5,
  events: 3n,
});

export const expiredTopic = (topicId: number): ExpiredTopic => ({
  topicId,
  name: `topic-${topicId}`,
  events: 25n,
  since: "3:3:",
  floor: "9:9:",
});

export interface FakeLog {
  readonly segments?: readonly number[];
  readonly topics?: readonly number[];
  readonly unfinished?: readonly UnfinishedPurge[];
  readonly rowsToForget?: number;
  readonly isLeader?: boolean;
  readonly rolls?: boolean;
  /** What a call fails with, as many times as there are; by name, or name and argument. */
  readonly failures?: Readonly<Record<string, readonly Error[]>>;
  /** Segments that are not announced, for something newer came into them. */
  readonly newerEvents?: readonly number[];
  /** Segments whose announcement is taken back. */
  readonly lateEvents?: readonly number[];
  readonly onCall?: (call: string) => void;
}

export const makeFakeLog = (log: FakeLog = {}) => {
  const calls: string[] = [];
  const failures = new Map(Object.entries(log.failures ?? {}).map(([name, errors]) => [name, [...errors]]));
  const leftOf = new Map((log.topics ?? []).map((it) => [1_000n + BigInt(it), 25]));
  let toForget = log.rowsToForget ?? 0;
  const call = async <T>(name: string, work: () => T): Promise<T> => {
    calls.push(name);
    log.onCall?.(name);
    await Promise.resolve();
    const error = failures.get(name)?.shift();
    if (error !== undefined) throw error;
    return work();
  };
  const purging: Purging = {
    lead: async () => await call("lead", () => log.isLeader ?? true),
    tick: async () => await call("tick", () => true),
    prepareSegments: async () => await call("prepare", () => 1),
    rollSegment: async () => await call("roll", () => log.rolls ?? false),
    expiredSegments: async () =>
      await call("expired segments", () => (log.segments ?? []).map(expiredSegment)),
    announceSegmentPurge: async ({ segment }) =>
      await call(`announce segment ${segment}`, () =>
        (log.newerEvents ?? []).includes(segment) ? null : { id: BigInt(segment), events: 3n },
      ),
    emptySegment: async (purge) =>
      await call(`empty ${purge}`, () => !(log.lateEvents ?? []).includes(Number(purge))),
    expiredTopics: async () => await call("expired topics", () => (log.topics ?? []).map(expiredTopic)),
    announceTopicPurge: async ({ topicId }) =>
      await call(`announce topic ${topicId}`, () => ({ id: 1_000n + BigInt(topicId), events: 25n })),
    trimTopic: async (purge, eventsMax) =>
      await call(`trim ${purge}`, () => {
        const left = leftOf.get(purge) ?? 0;
        const removed = Math.min(left, eventsMax);
        leftOf.set(purge, left - removed);
        return removed;
      }),
    unfinishedPurges: async () => await call("unfinished", () => log.unfinished ?? []),
    forget: async (_retentionMs, rowsMax) =>
      await call("forget", () => {
        const rows = Math.min(toForget, rowsMax);
        toForget -= rows;
        return rows;
      }),
  };
  return { purging, calls };
};

/** Sleeping takes no time but moves the clock; `onSleep` sees each. */
export const makeFakeClock = (onSleep: (ms: number) => void = () => {}) => {
  let now = 0;
  const sleeps: number[] = [];
  const clock: Clock = {
    now: () => now,
    sleep: async (ms) => {
      sleeps.push(ms);
      now += ms;
      onSleep(ms);
      await Promise.resolve();
    },
  };
  return { clock, sleeps };
};

export const makeMemoryLogger = () => {
  const messages: string[] = [];
  const log = (_fields: unknown, message: string): void => void messages.push(message);
  const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger };
  return { logger, messages };
};
