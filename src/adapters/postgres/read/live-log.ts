//! Reads what is new in one round trip: implements LiveLog.
//!
//! Page and news are one statement and so of one snapshot. That a page may lack what retention has removed is in its news all
//! the same: PostgreSQL takes the locks of a planned statement before its snapshot, so a segment that was emptied before we could lock
//! it was announced before we looked. Where each statement of a session may have the same snapshot, or a pooler may be in
//! between, the news are asked for again.
//!
//! The other way round, a snapshot may see events of a segment that was attached after the plan was made, and the plan lacks
//! it. So the news say how far the ids have got: what goes beyond the segments that every plan was sure to have since the read
//! before is read again.
//!
//! The statement is planned once, where the rest of the log plans each anew: planning costs more than the reading. So
//! that a plan made once still opens no old segment, the first id of the first segment to look at stands in the text, where
//! the planner sees it. It changes with a roll of the log; the connection is then renewed, and old plans go with it.

import { parseSnapshot } from "../../../core/snapshot.ts";
import type { LiveLog, LiveRequest } from "../../../core/tail/tail-reader.ts";
import type { PostgresClient } from "../client.ts";
import { type Fragment, prepared, raw } from "../statement.ts";
import { type EventColumns, pageOf } from "./event-columns.ts";
import { missing, newsOf, refuseStandby } from "./log.ts";
import { selectLive } from "./select-events.ts";
import { type LiveNewsColumns, newsRow } from "./select-look.ts";
import { makeWeighing } from "./weighing.ts";

/** As of {@link readingSession}, but planned once. */
export const liveSession = {
  plan_cache_mode: "force_generic_plan",
  enable_bitmapscan: "off",
  enable_seqscan: "off",
  jit: "off",
  // The first row of what it reads has to come first.
  max_parallel_workers_per_gather: "0",
  // Else a statement's snapshot would be older than its locks.
  default_transaction_isolation: "read committed",
} as const;

/** Segments are 2^32 ids wide. */
const segmentBits = 32n;

/** Not a parameter: a number that we made. */
const fromSegment = (segment: bigint): Fragment => raw(`id >= ${segment << segmentBits}`);

/** @param pooled whether another server may answer each time, unnoticed, in a session that is not set up */
export const makeLiveLog = (client: PostgresClient, pooled = false): LiveLog => {
  const weighing = makeWeighing();
  let first: bigint | null = null;
  /** Every plan that is made from now on has the segments up to this one. */
  let planned = -1;

  const ask = async (request: LiveRequest) => {
    const main = (request.mainBound + 1n) >> segmentBits;
    const late = (request.lateBound + 1n) >> segmentBits;
    if (first !== null && first !== main) client.renew();
    first = main;
    const segments = { main: fromSegment(main), late: fromSegment(late) };
    const news = newsRow(request, segments.main);
    const read = prepared(selectLive(request, { ...segments, news }, weighing));
    const lookAgain = pooled ? prepared(newsRow({ ...request, identify: true }, segments.main)) : null;
    const [[head, ...rows], again] = await client.run(
      async (connection) => await Promise.all([read(connection), lookAgain?.(connection)]),
    );
    if (head === undefined || head.about === null) return missing();
    const seen = JSON.parse(head.about) as LiveNewsColumns;
    return { seen, news: again?.[0] ?? seen, rows: rows as readonly EventColumns[] };
  };

  /** Whether the plan had every segment with events that its snapshot saw; what it was asked for is learnt for the next. */
  const hadAllSegments = ({
    last_segment: last,
    next_is_settled: isNextSettled,
  }: LiveNewsColumns): boolean => {
    const hadAll = last <= planned;
    planned = isNextSettled ? last + 1 : last;
    return hadAll;
  };

  return {
    read: async (request: LiveRequest) => {
      for (;;) {
        const { seen, news, rows } = await ask(request);
        if (!hadAllSegments(seen)) continue;
        refuseStandby(news.standby);
        const page = pageOf(rows, request.eventsMax);
        weighing.learn(page, request);
        return { page, current: parseSnapshot(seen.current), news: newsOf(news) };
      }
    },
  };
};
