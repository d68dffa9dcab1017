//! The three ways of reading a window. In each, a page whose data weigh too much is cut: the rows behind the cut come
//! without data, so that the caller knows that there is more.

import type { EventRow } from "../../core/event.ts";
import type { PageRequest } from "../../core/log.ts";
import { formatSnapshot } from "../../core/snapshot.ts";
import type { Sql } from "./client.ts";

export interface EventColumns {
  readonly id: bigint;
  readonly topic_id: number;
  readonly created_at: Date;
  readonly key: string | null;
  readonly type: string | null;
  readonly headers: string | null;
  readonly data: string | null;
}

export const eventRowOf = (row: EventColumns): EventRow => ({
  id: row.id,
  topicId: row.topic_id,
  key: row.key,
  type: row.type,
  headers: row.headers,
  createdAt: row.created_at,
  data: row.data ?? "null",
});

const wanted = (sql: Sql, topicIds: readonly number[] | null) =>
  topicIds === null ? sql`` : sql`and topic_id = any(${`{${topicIds.join(",")}}`}::text::integer[])`;

/** The window by xid: late commits, and the main part behind them. */
const windowByXid = (sql: Sql, request: PageRequest) => {
  const { since, until, after, late, lateBound, mainBound, topicIds } = request;
  const floor = (bound: bigint): bigint => (bound > after ? bound : after);
  const main = sql`
    select id, topic_id, created_at, key, type, headers, data from pgstream.events
    where id > ${floor(mainBound)}
      and xid >= ${String(since.xmax)}::text::xid8 and xid < ${String(until.xmax)}::text::xid8
      and pg_visible_in_snapshot(xid, ${formatSnapshot(until)}::text::pg_snapshot) ${wanted(sql, topicIds)}`;
  if (late.length === 0) return main;
  return sql`
    select id, topic_id, created_at, key, type, headers, data from pgstream.events
    where id > ${floor(lateBound)} and xid = any(${`{${late.join(",")}}`}::text::xid8[]) ${wanted(sql, topicIds)}
    union all ${main}`;
};

/** The outer columns of a page, over a subquery \`page\` in the order of ids. */
const weighed = (sql: Sql, bytesMax: number) => sql`
  select page.id, page.topic_id, page.created_at, page.key, page.type, page.headers::text as headers,
    case when sum(octet_length(page.data::text)) over (order by page.id) - octet_length(page.data::text) < ${bytesMax}
      then page.data::text end as data`;

export const selectFirstPage = (sql: Sql, request: PageRequest) => sql<EventColumns[]>`
  ${weighed(sql, request.bytesMax)}
  from (select * from (${windowByXid(sql, request)}) w order by w.id limit ${request.eventsMax}) page
  order by page.id`;

export const selectWindowEnd = (sql: Sql, request: PageRequest) => sql<{ id: bigint | null }[]>`
  select max(w.id) as id from (${windowByXid(sql, request)}) w`;

/** Only functions of xid, no range: the planner then walks the primary key, and no page reads the window anew. */
export const selectNextPage = (sql: Sql, request: PageRequest, end: bigint) => sql<EventColumns[]>`
  ${weighed(sql, request.bytesMax)}
  from (
    select * from pgstream.events
    where id > ${request.after} and id <= ${end}
      and pg_visible_in_snapshot(xid, ${formatSnapshot(request.until)}::text::pg_snapshot)
      and not pg_visible_in_snapshot(xid, ${formatSnapshot(request.since)}::text::pg_snapshot)
      ${wanted(sql, request.topicIds)}
    order by id limit ${request.eventsMax}
  ) page
  order by page.id`;
