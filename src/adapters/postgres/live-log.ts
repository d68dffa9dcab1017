//! Reads what is new in one round trip: implements LiveLog.
//!
//! Its statements are planned once, where the rest of the log plans each anew: planning costs more than the reading. So
//! that a plan made once still opens no old segment, the first id of the first segment to look at stands in the text, where
//! the planner sees it. It changes with a roll of the log; the connection is then renewed, and old plans go with it.

import { parseSnapshot } from "../../core/snapshot.ts";
import type { LiveLog, LiveRequest } from "../../core/tail-reader.ts";
import type { Fragment, PostgresClient, Sql } from "./client.ts";
import { type EventColumns, pageOf } from "./event-columns.ts";
import { missing, newsOf, refuseStandby } from "./log.ts";
import { selectLive } from "./select-events.ts";
import { selectNews } from "./select-look.ts";
import { makeWeighing } from "./weighing.ts";

/** As of {@link readingSession}, but planned once. */
export const liveSession = {
  plan_cache_mode: "force_generic_plan",
  enable_bitmapscan: "off",
  enable_seqscan: "off",
  // The first row of what it reads has to come first.
  max_parallel_workers_per_gather: "0",
} as const;

/** Segments are 2^32 ids wide. */
const segmentBits = 32n;

/** Not a parameter: a number that we made. */
const fromSegment = (sql: Sql, segment: bigint): Fragment =>
  sql`${sql.unsafe(`id >= ${segment << segmentBits}`)}`;

/** @param pooled whether another server may answer each time, unnoticed */
export const makeLiveLog = (client: PostgresClient, pooled = false): LiveLog => {
  const weighing = makeWeighing();
  let known: bigint | null = null;
  return {
    read: async (request: LiveRequest) => {
      const main = (request.mainBound + 1n) >> segmentBits;
      const late = (request.lateBound + 1n) >> segmentBits;
      if (known !== null && known !== main) client.renew();
      known = main;
      const [[first, ...rows], [news]] = await client.run(
        async (sql) =>
          await Promise.all([
            selectLive(
              sql,
              request,
              { main: fromSegment(sql, main), late: fromSegment(sql, late) },
              weighing,
            ),
            selectNews(sql, { ...request, identify: pooled || request.identify }, fromSegment(sql, main)),
          ]),
      );
      if (first === undefined || news === undefined) return missing();
      refuseStandby(news.standby);
      const page = pageOf(rows as readonly EventColumns[], request.eventsMax);
      weighing.learn(page, request);
      return { page, current: parseSnapshot(first.current ?? ""), news: newsOf(news) };
    },
  };
};
