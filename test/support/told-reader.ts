//! A reader that goes on behind gaps, and remembers what it was told of them.

import type { Cursor } from "../../src/core/cursor.ts";
import type { TopicGap } from "../../src/core/gap.ts";
import type { Log } from "../../src/core/log.ts";
import { makeReader, type ReaderOptions } from "../../src/core/read/reader.ts";
import { startCursor } from "../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";

/** From earliest, unless a start is given. */
export const openReader = async (
  log: Log,
  start: Cursor | null = null,
  options: Partial<ReaderOptions> = {},
) => {
  const { newest } = await log.epoch();
  const gaps: TopicGap[] = [];
  const from = start ?? (await startCursor(log, newest, { kind: "earliest" }));
  const reader = makeReader(log, from, {
    filter: parseTopicPatterns([">"]),
    epoch: newest,
    batchEventsMax: 100,
    pageEventsMax: 100,
    pageBytesMax: 2 ** 20,
    onGap: (gap) => void gaps.push(...gap),
    ...options,
  });
  let cursor = from;
  const read = async (batchesMax = Infinity): Promise<readonly bigint[]> => {
    const ids: bigint[] = [];
    for (let n = 0; n < batchesMax; n += 1) {
      const batch = await reader.next();
      if (batch === null) break;
      ids.push(...batch.events.map(({ id }) => id));
      ({ cursor } = batch);
    }
    return ids;
  };
  const told = (): readonly TopicGap[] => gaps.toSorted((a, b) => a.topic.localeCompare(b.topic));
  return { read, told, cursor: () => cursor };
};
