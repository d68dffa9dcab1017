//! What retention removed before a subscription had read it.

import type { Cursor } from "./cursor.ts";
import type { PurgedTopic } from "./log.ts";
import { covers } from "./snapshot.ts";

export interface TopicGap {
  readonly topic: string;
  readonly events: number;
  /** False: at most so many. */
  readonly exact: boolean;
}

/** Whether everything that the purge removed had been handled. */
const hadReadAll = (purged: PurgedTopic, { seen, window }: Cursor): boolean =>
  (purged.lastXid < seen.xmax && !seen.xip.some((xid) => xid >= purged.firstXid && xid <= purged.lastXid)) ||
  covers(seen, purged.floor) ||
  (window !== null && purged.lastId <= window.after && covers(window.until, purged.floor));

/** Whether nothing of what the purge removed had been handled. */
const hadReadNone = (purged: PurgedTopic, { seen, window }: Cursor): boolean =>
  purged.firstXid >= seen.xmax &&
  (window === null || purged.firstId > window.after || purged.firstXid >= window.until.xmax);

/** How many events of which topics a subscription at `cursor` missed; empty when it missed none. */
export const gapOf = (purged: readonly PurgedTopic[], cursor: Cursor): readonly TopicGap[] => {
  const gaps = new Map<string, TopicGap>();
  for (const it of purged) {
    if (hadReadAll(it, cursor)) continue;
    const before = gaps.get(it.topic);
    gaps.set(it.topic, {
      topic: it.topic,
      events: (before?.events ?? 0) + it.events,
      exact: (before?.exact ?? true) && it.done && hadReadNone(it, cursor),
    });
  }
  return [...gaps.values()];
};

/** One line for people: `12 of courses, at most 7 of policies`. */
export const describeGap = (gap: readonly TopicGap[]): string =>
  gap.map(({ topic, events, exact }) => `${exact ? "" : "at most "}${events} of ${topic}`).join(", ");
