//! What retention removed before a subscription had read it.

import type { Cursor } from "./cursor.ts";
import type { PurgedTopic } from "./log.ts";
import { covers, sees, type Snapshot } from "./snapshot.ts";

export interface TopicGap {
  readonly topic: string;
  readonly events: number;
  /** False: at most so many. */
  readonly exact: boolean;
}

/**
 * Whether the snapshot sees all transactions of which the purge removed events. Of one that was running it may have removed none, and
 * that is sure where the floor does not see it either: an open transaction of another database counts nowhere.
 */
const seesAllOf = (snapshot: Snapshot, { firstXid, lastXid, floor }: PurgedTopic): boolean =>
  covers(snapshot, floor) ||
  (lastXid < snapshot.xmax &&
    !snapshot.xip.some((xid) => xid >= firstXid && xid <= lastXid && sees(floor, xid)));

/** Whether everything that the purge removed had been handled. */
const hadReadAll = (purged: PurgedTopic, { seen, window }: Cursor): boolean =>
  seesAllOf(seen, purged) ||
  (window !== null && purged.lastId <= window.after && seesAllOf(window.until, purged));

/** Whether nothing of what the purge removed had been handled. */
const hadReadNone = (purged: PurgedTopic, { seen, window }: Cursor): boolean =>
  purged.firstXid >= seen.xmax &&
  (window === null || purged.firstId > window.after || purged.firstXid >= window.until.xmax);

const meet = (firstA: bigint, lastA: bigint, firstB: bigint, lastB: bigint): boolean =>
  firstA <= lastB && firstB <= lastA;

/** Whether both may count the same events: a topic is trimmed while a segment is announced that a reader holds open, or the other way round. */
const mayShare = (a: PurgedTopic, b: PurgedTopic): boolean =>
  a.topic === b.topic &&
  meet(a.firstXid, a.lastXid, b.firstXid, b.lastXid) &&
  meet(a.firstId, a.lastId, b.firstId, b.lastId);

/** How many events of which topics a subscription at `cursor` missed; empty when it missed none. */
export const gapOf = (purged: readonly PurgedTopic[], cursor: Cursor): readonly TopicGap[] => {
  const gaps = new Map<string, TopicGap>();
  const segments = purged.filter((it) => it.ofSegment);
  for (const it of purged) {
    if (hadReadAll(it, cursor)) continue;
    const before = gaps.get(it.topic);
    gaps.set(it.topic, {
      topic: it.topic,
      events: (before?.events ?? 0) + it.events,
      exact:
        (before?.exact ?? true) &&
        it.done &&
        hadReadNone(it, cursor) &&
        (it.ofSegment || !segments.some((segment) => mayShare(it, segment))),
    });
  }
  return [...gaps.values()];
};

/** One line for people: `12 of courses, at most 7 of policies`. */
export const describeGap = (gap: readonly TopicGap[]): string =>
  gap.map(({ topic, events, exact }) => `${exact ? "" : "at most "}${events} of ${topic}`).join(", ");
