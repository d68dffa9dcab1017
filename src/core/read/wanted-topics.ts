//! Which topics exist, and which of them a subscription wants: learned as events are, by snapshot.

import { PgstreamError } from "../errors.ts";
import { eventOf, type Event } from "../event.ts";
import type { News, Page } from "../log.ts";
import { crashSafe, emptySnapshot, type Snapshot, type Xid } from "../snapshot.ts";
import type { TopicFilter } from "../topic.ts";

export interface WantedTopics {
  /** Takes in the topics that were found; they cover every event visible to whoever found them. */
  readonly learn: (news: News) => void;
  /** Whether there has been a look yet. */
  readonly isKnown: () => boolean;
  /** What to ask the next look for. */
  readonly since: () => Snapshot;
  /** The wanted topics' numbers; null when all are wanted. */
  readonly ids: () => readonly number[] | null;
  readonly name: (id: number) => string | undefined;
}

export const makeWantedTopics = (filter: TopicFilter): WantedTopics => {
  const names = new Map<number, string>();
  const wanted: number[] = [];
  let since = emptySnapshot;
  let known = false;
  return {
    learn: ({ topics, current }) => {
      let newest: Xid | null = null;
      for (const { id, name, xid } of topics) {
        if (!names.has(id) && filter.matches(name)) wanted.push(id);
        names.set(id, name);
        if (newest === null || xid > newest) newest = xid;
      }
      known = true;
      since = crashSafe(current, since, newest);
    },
    isKnown: () => known,
    since: () => since,
    ids: () => (filter.all ? null : wanted),
    name: (id) => names.get(id),
  };
};

/** @throws PgstreamError `internal` when a topic is not known: a look behind the page knows all of them */
export const nameRows = (page: Page, topics: WantedTopics): readonly Event[] =>
  page.rows.map((row) => {
    const topic = topics.name(row.topicId);
    if (topic !== undefined) return eventOf(row, topic);
    throw new PgstreamError("internal", `event ${row.id} is of unknown topic ${row.topicId}`);
  });
