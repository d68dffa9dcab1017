//! Reads what is new in one round trip: implements LiveLog.
//!
//! Page and news are one statement and so of one snapshot. That a page may lack what retention has removed is in its news all
//! the same: PostgreSQL takes the locks of a planned statement before its snapshot, so a segment that was emptied before we could lock
//! it was announced before we looked. Where each statement of a session may have the same snapshot, or a pooler may be in
//! between, the news are asked for again.
//!
//! The statement is planned once, where the rest of the log plans each anew: planning costs more than the reading. So
//! that a plan made once opens no segment but those with events to read, mostly one, their numbers stand in the text, where the planner
//! sees them. They change with a roll of the log; the connection is then renewed, and old plans go with it.
//!
//! The other way round, a snapshot may see events of a later segment than the plan has. So the news say how far the ids
//! have got, and what goes further than the plan is read again. A plan has what its text names: a segment is named when its
//! ids are in use or about to be, and every backend knew of it before.
//!
//! Who the server is, it is asked once a session: that cannot change while one lasts. So the news say which session they are
//! from, and one that has not been asked yet is.

import { parseSnapshot } from "../../../core/snapshot.ts";
import type { LiveLog, LiveRequest } from "../../../core/tail/tail-reader.ts";
import { type PostgresClient, readCommitted } from "../client.ts";
import { refuseStandby } from "./ask.ts";
import { type EventColumns, pageOf } from "./event-columns.ts";
import { parseNews } from "./live-news.ts";
import { missing, newsOf } from "./log.ts";
import { type LiveStatements, makeLiveStatements, segmentBits, type Segments } from "./select-live.ts";
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
  ...readCommitted,
} as const;

/** The one that the ids above the bound begin in. */
const segmentAbove = (bound: bigint): bigint => (bound + 1n) >> segmentBits;

const isSame = (a: Segments, b: Segments): boolean =>
  a.late === b.late && a.main === b.main && a.last === b.last;

/** @param pooled whether another server may answer each time, unnoticed, in a session that is not set up */
export const makeLiveLog = (client: PostgresClient, pooled = false): LiveLog => {
  const weighing = makeWeighing();
  /** What the plans of the connection look into, and the statements that do. */
  let planned: { readonly segments: Segments; readonly statements: LiveStatements } | null = null;
  /** The last segment that has been seen in use. */
  let lastSeen = 0n;
  /** The session that has told which server it is on. */
  let identified: string | null = null;

  const plan = ({ mainBound, lateBound }: LiveRequest) => {
    const main = segmentAbove(mainBound);
    const segments = { late: segmentAbove(lateBound), main, last: lastSeen > main ? lastSeen : main };
    if (planned !== null && isSame(planned.segments, segments)) return planned;
    if (planned !== null) client.renew();
    planned = { segments, statements: makeLiveStatements(segments, weighing) };
    return planned;
  };

  const ask = async (request: LiveRequest) => {
    const { segments, statements } = plan(request);
    const read = statements(request).read(request);
    const again = { ...request, identify: true };
    const lookAgain = pooled ? statements(again).news(again) : null;
    const [[head, ...rows], news] = await client.run(
      async (connection) => await Promise.all([read(connection), lookAgain?.(connection)]),
    );
    if (head === undefined || head.about === null) return missing();
    const seen = parseNews(head.about);
    if (request.identify) identified = seen.session;
    lastSeen = BigInt(seen.last_segment);
    return {
      seen,
      news: news?.[0] ?? seen,
      rows: rows as readonly EventColumns[],
      hadAllSegments: lastSeen <= segments.last,
      // By the driver, too, a connection is renewed, where one was lost.
      isIdentified: pooled || seen.session === identified,
    };
  };

  return {
    read: async (request: LiveRequest) => {
      for (let identify = request.identify; ;) {
        const { seen, news, rows, hadAllSegments, isIdentified } = await ask({ ...request, identify });
        refuseStandby(client, seen.standby || news.standby);
        if (!isIdentified || !hadAllSegments) {
          // For other segments it will be another connection.
          identify = true;
          continue;
        }
        const page = pageOf(rows, request.eventsMax);
        weighing.learn(page, request);
        // Whoever tells the rest may have crashed and come back meanwhile: what is newest there, this snapshot may not see.
        const { newest_xid } = seen;
        return { page, current: parseSnapshot(seen.current), news: newsOf({ ...news, newest_xid }) };
      }
    },
  };
};
