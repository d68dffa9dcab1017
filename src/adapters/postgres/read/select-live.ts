//! A window that ends at the statement's own snapshot: what it sees is visible. Page and news are of the same snapshot.
//!
//! Planned once, without knowing the values. The planner goes by xid, since a range that is closed at both ends is taken to be
//! small, and of what is left by `topic_id > 0` a third is: of ids it may think the same. `offset 0` keeps it from walking the
//! primary key for the sake of the order.

import { formatSnapshot, type Snapshot } from "../../../core/snapshot.ts";
import type { LiveRequest } from "../../../core/tail/tail-reader.ts";
import { type Fragment, raw, sql, type Statement } from "../statement.ts";
import type { EventColumns } from "./event-columns.ts";
import { type LiveNewsColumns, newsAsText, selectNews } from "./live-news.ts";
import { columns, pageFrom, wanted } from "./select-events.ts";
import type { Weighing } from "./weighing.ts";

/** Where the planner is to look: the others it leaves out for good. */
export interface Segments {
  /** The first one with late commits. */
  readonly late: bigint;
  /** The first one with the window's other events. */
  readonly main: bigint;
  /** The last one that has events. */
  readonly last: bigint;
}

/** Segments are 2^32 ids wide. */
export const segmentBits = 32n;

// Not parameters but numbers that we made: the planner must see them.
const mainSegments = ({ main, last }: Segments): Fragment =>
  raw(`id >= ${main << segmentBits} and id < ${(last + 1n) << segmentBits} and topic_id > 0`);
// Not bounded from above: xids from a list might then seem more than the ids of a segment.
const lateSegments = ({ late }: Segments): Fragment => raw(`id >= ${late << segmentBits}`);

const greatestXid = String(2n ** 64n - 1n);

const sinceXmax = ({ xmax }: Snapshot) => sql`
  xid >= ${String(xmax)}::text::xid8 and xid <= ${greatestXid}::text::xid8`;

/** Qualified in ORDER BY: the bare name would be the output column, the text. */
const newestXid = ({ since }: LiveRequest, segments: Segments) => sql`
  select events.xid::text as newest_xid from pgstream.events
  where ${mainSegments(segments)} and ${sinceXmax(since)} order by events.xid desc limit 1`;

export const selectLiveNews = (request: LiveRequest, segments: Segments): Statement<LiveNewsColumns> =>
  selectNews(request, newestXid(request, segments));

/** The first one is no event: it tells the news, as text. Then row by row as a page. */
export interface LiveColumns extends Omit<EventColumns, "id" | "about"> {
  readonly id: bigint | null;
  readonly about: string | null;
}

export const selectLive = (
  request: LiveRequest,
  segments: Segments,
  weighing: Weighing,
): Statement<LiveColumns> => {
  const { since, topicIds } = request;
  const mainPart = sql`
    select ${columns} from pgstream.events
    where ${mainSegments(segments)} and ${sinceXmax(since)} ${wanted(topicIds)}`;
  const latePart = sql`
    select ${columns} from pgstream.events
    where ${lateSegments(segments)} and xid = any(array(
      select x from pg_snapshot_xip(${formatSnapshot(since)}::text::pg_snapshot) x
      where pg_visible_in_snapshot(x, pg_current_snapshot()))) ${wanted(topicIds)}`;
  const both = since.xip.length === 0 ? mainPart : sql`${latePart} union all ${mainPart}`;
  return sql`
    select null as id, (${newsAsText(selectLiveNews(request, segments))}) as about, null as data
    union all
    select * from (${pageFrom(sql`${both} offset 0`, request, weighing)}) page`;
};
