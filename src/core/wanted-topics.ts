//! Which topics exist, and which of them a subscription wants: learned as events are, by snapshot.

import type { Look } from "./log.ts";
import { crashSafe, emptySnapshot, type Snapshot } from "./snapshot.ts";
import type { TopicFilter } from "./topic.ts";

export interface WantedTopics {
  /** Takes in the topics that a look found; they cover every event visible to it. */
  readonly learn: (look: Look) => void;
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
    learn: (look) => {
      for (const { id, name } of look.topics) {
        if (!names.has(id) && filter.matches(name)) wanted.push(id);
        names.set(id, name);
      }
      known = true;
      since = crashSafe(look.current, since, look.newestTopicXid);
    },
    isKnown: () => known,
    since: () => since,
    ids: () => (filter.all ? null : wanted),
    name: (id) => names.get(id),
  };
};
