//! The ways of reading a window that is known. In each, a page whose data weigh too much is cut: what is behind the cut comes
//! without data, so that the caller knows that there is more.

import type { PageRequest, WindowEnd } from "../../../core/log.ts";
import { formatSnapshot, makeSnapshot } from "../../../core/snapshot.ts";
import { empty, type Fragment, join, sql, type Statement } from "../statement.ts";
import { type EventColumns, eventColumns } from "./event-columns.ts";
import type { Weighing } from "./weighing.ts";

/** So many, and they are looked up in a hash and not in the index. */
const hashedFrom = 1_000;

export type Wanted = "all" | "few" | "many";

export const howMany = (topicIds: readonly number[] | null): Wanted => {
  if (topicIds === null) return "all";
  return topicIds.length < hashedFrom ? "few" : "many";
};

export const listOf = (topicIds: readonly number[] | null): string => `{${topicIds?.join(",") ?? ""}}`;

/**
 * As a bare parameter the list would be read anew for every row: text does not become an array while a plan is made.
 * @param list the topics' numbers, as of {@link listOf}
 */
export const onTopics = (many: Wanted, list: unknown) => {
  if (many === "all") return empty;
  const numbers = sql`${list}::text::integer[]`;
  return many === "few"
    ? sql`and topic_id = any((select ${numbers})::integer[])`
    : // IS TRUE keeps it from becoming a join.
      sql`and (topic_id in (select pg_catalog.unnest(${numbers}))) is true`;
};

const wanted = (topicIds: readonly number[] | null) => onTopics(howMany(topicIds), listOf(topicIds));

const greatest = (first: bigint, ...others: readonly (bigint | null)[]): bigint =>
  others.reduce<bigint>((most, it) => (it !== null && it > most ? it : most), first);

const upTo = (top: bigint | null) => (top === null ? empty : sql`and id <= ${top}`);

export const columns = sql`id, topic_id, created_at, key, type, headers, data`;

/** The part of a window that were running before: late commits. */
const lateByXid = ({ after, late, lateBound, top, topicIds }: PageRequest) => sql`
  select ${columns} from pgstream.events
  where id > ${greatest(after, lateBound)} ${upTo(top)} and xid = any(${`{${late.join(",")}}`}::text::xid8[]) ${wanted(topicIds)}`;

/** The rest of it. */
const mainByXid = ({ since, until, after, mainBound, top, topicIds }: PageRequest) => sql`
  select ${columns} from pgstream.events
  where id > ${greatest(after, mainBound)} ${upTo(top)}
    and xid >= ${String(since.xmax)}::text::xid8 and xid < ${String(until.xmax)}::text::xid8
    and pg_catalog.pg_visible_in_snapshot(xid, ${formatSnapshot(until)}::text::pg_snapshot) ${wanted(topicIds)}`;

const windowByXid = (request: PageRequest) =>
  request.late.length === 0 ? mainByXid(request) : sql`${lateByXid(request)} union all ${mainByXid(request)}`;

/** The first of the rows that are wanted, as they travel. */
export const pageFrom = (
  rows: Fragment,
  request: Pick<PageRequest, "eventsMax" | "bytesMax">,
  weighing: Weighing,
) => sql`
  select ${eventColumns(weighing, request)}
  from (${rows}) page order by page.id limit ${request.eventsMax}`;

export const selectFirstPage = (request: PageRequest, weighing: Weighing): Statement<EventColumns> =>
  pageFrom(windowByXid(request), request, weighing);

/** `offset 0` keeps the planner from looking for the greatest id by walking backwards from the end of the log. */
export const selectWindowEnd = (request: PageRequest): Statement<WindowEnd> => {
  const late =
    request.late.length === 0
      ? sql`select null::bigint as id, 0 as events`
      : sql`select pg_catalog.max(w.id) as id, pg_catalog.count(*)::integer as events from (${lateByXid(request)} offset 0) w`;
  return sql`
  select late.id as late, late.events as "lateEvents", (select pg_catalog.max(w.id) from (${mainByXid(request)} offset 0) w) as main
  from (${late}) late`;
};

/** Only functions of xid, no range: the planner then walks the primary key, and no page reads the window anew. */
const windowById = (request: PageRequest, after: bigint, end: bigint | null) => sql`
  select ${columns} from pgstream.events
  where id > ${after} and id <= ${end ?? after}
    and pg_catalog.pg_visible_in_snapshot(xid, ${formatSnapshot(request.until)}::text::pg_snapshot)
    and not pg_catalog.pg_visible_in_snapshot(xid, ${formatSnapshot(request.since)}::text::pg_snapshot)
    ${wanted(request.topicIds)}`;

/** So many ids are walked through, whatever lies there. */
const walkMax = 200_000n;

/**
 * Late commits lie anywhere among what happened since their transaction began, which may be the whole log. To walk to the next page of
 * them passes over its share of the ids; to find them by xid looks at all of them.
 */
const isWalk = (from: bigint, { late, lateEvents }: WindowEnd, eventsMax: number): boolean => {
  const span = (late ?? from) - from;
  return span <= walkMax || span * BigInt(eventsMax) <= BigInt(lateEvents) ** 2n;
};

/** A page of each part, of which the page is the first: what is united is not read in order, but as a whole. */
const pageOfEach = (parts: readonly Fragment[], eventsMax: number): Fragment =>
  join(
    parts.map((rows) => sql`(select * from (${rows}) part order by part.id limit ${eventsMax})`),
    " union all ",
  );

/**
 * Two stretches of ids: up to where the late commits end, and from where the main part begins. What lies between them may
 * be all that happened while a transaction was open, and is not walked through. Where that lies between the late commits
 * themselves, each page finds what is left of them by xid.
 */
const restOfWindow = (request: PageRequest, end: WindowEnd): Fragment => {
  const { since, after, lateBound, mainBound, eventsMax } = request;
  if (end.late === null || end.late <= after) {
    return windowById(request, greatest(after, mainBound, end.late), end.main);
  }
  const from = greatest(after, lateBound);
  if (isWalk(from, end, eventsMax)) {
    const main = windowById(request, greatest(after, mainBound, end.late), end.main);
    return pageOfEach([windowById(request, from, end.late), main], eventsMax);
  }
  // `offset 0`: else the order would be had from the primary key. The main part alone: as if nothing had been running.
  const late = sql`${lateByXid({ ...request, top: null })} offset 0`;
  const main = { ...request, since: makeSnapshot(since.xmax, []) };
  return pageOfEach([late, windowById(main, greatest(after, mainBound), end.main)], eventsMax);
};

export const selectNextPage = (request: PageRequest, end: WindowEnd, weighing: Weighing) =>
  pageFrom(restOfWindow(request, end), request, weighing);

/** As many ids as are walked through in any case; not a stride, for ids have holes of a whole segment. */
export const selectStepEnd = (after: bigint, last: bigint): Statement<{ id: bigint | null }> => sql`
  select pg_catalog.max(step.id) as id from (
    select id from pgstream.events where id > ${after} and id <= ${last} order by events.id limit ${walkMax}
  ) step`;
