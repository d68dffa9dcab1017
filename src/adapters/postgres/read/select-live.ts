//! A window that ends at the statement's own snapshot: what it sees is visible. Page and news are of the same snapshot.
//!
//! Planned once, without knowing the values, and maybe on a table without statistics: a range that is closed at both ends the
//! planner takes to be small, be it of ids or of xids. So xids have an end too, and what is true of every event, that it is on some topic, makes
//! the index of xid and topic look better than the primary key. `offset 0` keeps the planner from walking the
//! primary key for the sake of the order.

import { formatSnapshot } from "../../../core/snapshot.ts";
import type { LiveRequest } from "../../../core/tail/tail-reader.ts";
import { type Fragment, raw, repeated, sql, type Template } from "../statement.ts";
import type { EventColumns } from "./event-columns.ts";
import { type LiveNewsColumns, newsAsText, selectNews } from "./live-news.ts";
import { columns, howMany, listOf, onTopics, pageFrom } from "./select-events.ts";
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

const allTopics = raw(`topic_id between 1 and ${2 ** 31 - 1}`);

// Not parameters but numbers that we made: the planner must see them.
const between = (first: bigint, last: bigint): Fragment =>
  sql`id >= ${raw(String(first << segmentBits))} and id < ${raw(String((last + 1n) << segmentBits))} and ${allTopics}`;

// What differs from one read to the next.
const since = ({ since: { xmax } }: LiveRequest): string => String(xmax);
const sinceWhole = (request: LiveRequest): string => formatSnapshot(request.since);
const topicsSince = (request: LiveRequest): string => String(request.topicsSince.xmax);
const topicsSinceWhole = (request: LiveRequest): string => formatSnapshot(request.topicsSince);
const topics = ({ topicIds }: LiveRequest): string => listOf(topicIds);

const greatestXid = String(2n ** 64n - 1n);

const fromSince = sql`xid >= ${since}::text::xid8 and xid <= ${greatestXid}::text::xid8`;

/** Qualified in ORDER BY: the bare name would be the output column, the text. */
const selectNewestXid = ({ main, last }: Segments) => sql`
  select events.xid::text as newest_xid from pgstream.events
  where ${between(main, last)} and ${fromSince} order by events.xid desc limit 1`;

const selectLiveNews = (request: LiveRequest, segments: Segments): Template<LiveRequest, LiveNewsColumns> =>
  selectNews({
    identify: request.identify,
    topicsSince: { xmax: topicsSince, whole: request.topicsSince.xip.length === 0 ? null : topicsSinceWhole },
    newestXid: selectNewestXid(segments),
  });

/** The first one is no event: it tells the news, as text. Then row by row as a page. */
export interface LiveColumns extends Omit<EventColumns, "id" | "about"> {
  readonly id: bigint | null;
  readonly about: string | null;
}

const selectLive = (
  request: LiveRequest,
  segments: Segments,
  weighing: Weighing,
): Template<LiveRequest, LiveColumns> => {
  const { main, late, last } = segments;
  const wanted = onTopics(howMany(request.topicIds), topics);
  const mainPart = sql`
    select ${columns} from pgstream.events where ${between(main, last)} and ${fromSince} ${wanted}`;
  const latePart = sql`
    select ${columns} from pgstream.events
    where ${between(late, last)} and xid = any(array(
      select x from pg_catalog.pg_snapshot_xip(${sinceWhole}::text::pg_snapshot) x
      where pg_catalog.pg_visible_in_snapshot(x, pg_catalog.pg_current_snapshot()))) ${wanted}`;
  const both = request.since.xip.length === 0 ? mainPart : sql`${latePart} union all ${mainPart}`;
  return sql`
    select null as id, (${newsAsText(selectLiveNews(request, segments))}) as about, null as data
    union all
    select * from (${pageFrom(sql`${both} offset 0`, request, weighing)}) page`;
};

/** Requests for which it is the same have the same text. */
const shapeOf = (request: LiveRequest, weighing: Weighing): string =>
  [
    request.identify,
    request.since.xip.length === 0,
    request.topicsSince.xip.length === 0,
    howMany(request.topicIds),
    weighing.isNeeded(),
    request.eventsMax,
    request.bytesMax,
  ].join(" ");

export type LiveStatements = ReturnType<typeof makeLiveStatements>;

/** The statements that look into these segments. */
export const makeLiveStatements = (segments: Segments, weighing: Weighing) => {
  const make = (request: LiveRequest) => ({
    read: repeated(selectLive(request, segments, weighing)),
    news: repeated(selectLiveNews(request, segments)),
  });
  const made = new Map<string, ReturnType<typeof make>>();
  return (request: LiveRequest): ReturnType<typeof make> => {
    const shape = shapeOf(request, weighing);
    const statements = made.get(shape) ?? make(request);
    made.set(shape, statements);
    return statements;
  };
};
