//! One look at the log, in one statement and so in one snapshot. When nothing happened it touches a handful of
//! buffers, whatever the number of topics, segments and ticks.

import type { Epoch, LookRequest } from "../../../core/log.ts";
import { emptySnapshot, formatSnapshot, type Snapshot, xmin } from "../../../core/snapshot.ts";
import { empty, type Fragment, raw, sql, type Statement } from "../statement.ts";
import { epochColumns } from "./epoch-columns.ts";

export interface BoundColumns {
  readonly main_xid: string | null;
  readonly main_id: bigint | null;
  readonly late_xid: string | null;
  readonly late_id: bigint | null;
}

/** Numbers of more than 53 bits are text, so that it may come as JSON. */
export interface NewsColumns {
  readonly standby: boolean;
  readonly current: string;
  readonly number: number;
  readonly id: string;
  readonly first_id: string;
  readonly snapshot: string;
  readonly running: boolean;
  readonly newest_xid: string | null;
  readonly purge: string;
  readonly topics: string | null;
}

export interface LookColumns extends NewsColumns, BoundColumns {
  readonly tick: string | null;
  readonly tick_top: bigint | null;
}

const boundColumns = sql`
  main.xid as main_xid, main.last_id as main_id, late.xid as late_xid, late.last_id as late_id`;

/** Joins the two bounds to a row. */
const boundRows = ({ number }: Epoch, since: Snapshot) => sql`
  left join lateral (
    select t.xid::text, t.last_id from pgstream.ticks t
    where t.epoch = ${number} and t.xid <= ${String(since.xmax)}::text::xid8
    order by t.xid desc limit 1
  ) main on true
  left join lateral (
    select t.xid::text, t.last_id from pgstream.ticks t
    where t.epoch = ${number} and t.xid <= ${String(xmin(since))}::text::xid8
    order by t.xid desc limit 1
  ) late on true`;

export const selectBounds = (epoch: Epoch, since: Snapshot): Statement<BoundColumns> => sql`
  select ${boundColumns} from (select) one ${boundRows(epoch, since)}`;

/**
 * xids and snapshots travel as text: the driver need not know their types. Qualified in ORDER BY: the bare name would be the
 * output column, the text.
 */
const newestXid = ({ since, bound }: LookRequest) => sql`
    select events.xid::text as newest_xid from pgstream.events
    where id > ${bound} and xid >= ${String(since.xmax)}::text::xid8
    order by events.xid desc limit 1`;

/** A snapshot as values of a statement. */
export interface SnapshotValues {
  readonly xmax: unknown;
  /** All of it; null when nothing was running. */
  readonly whole: unknown;
}

const valuesOf = (snapshot: Snapshot): SnapshotValues => ({
  xmax: String(snapshot.xmax),
  whole: snapshot.xip.length === 0 ? null : formatSnapshot(snapshot),
});

const none = raw(`'${emptySnapshot.xmax}'`);
const greatestXid = raw(`'${2n ** 64n - 1n}'::xid8`);

/**
 * A restore leaves topics whose xids lie ahead of this server. They are told to whoever knows of none yet; to tell them each time, until the
 * server has come that far, would be to send all topics with each look.
 */
const topicsUpTo = (since: unknown) => sql`
      case ${since}::text when ${none} then ${greatestXid}
      else pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) end`;

export const newsColumns = (topicsSince: SnapshotValues, newest: Fragment) => sql`
    pg_catalog.pg_current_snapshot()::text as current,
    ${newest} as newest_xid,
    coalesce((select p.id from pgstream.purges p order by p.id desc limit 1), 0)::text as purge,
    (select pg_catalog.json_agg(pg_catalog.json_build_object('id', t.id, 'name', t.name, 'xid', t.xid::text))::text from (
      select id, name, xid from pgstream.topics where xid >= ${topicsSince.xmax}::text::xid8 and xid < ${topicsUpTo(topicsSince.xmax)}
      ${topicsSince.whole === null ? empty : lateTopics(topicsSince.whole)}
    ) t) as topics`;

/** Of those that were running, only the ones that have committed: hundreds may run, and none has made a topic. */
const lateTopics = (topicsSince: unknown) => sql`
      union all
      select id, name, xid from pgstream.topics where xid = any(array(
        select x from pg_catalog.pg_snapshot_xip(${topicsSince}::text::pg_snapshot) x
        where pg_catalog.pg_visible_in_snapshot(x, pg_catalog.pg_current_snapshot())))`;

export const newestEpoch = sql`(select * from pgstream.epochs order by number desc limit 1) e`;

/**
 * How many ticks a window may span. The rows of transactions that ran at the same time lie among each other, so what reads a
 * window by id passes over those of its neighbours: the longer the windows, the less often.
 */
const ticksAhead = 8;

export const selectLook = (request: LookRequest): Statement<LookColumns> => {
  const { since, epoch, topicsSince, expectsTick } = request;
  const newest = expectsTick ? sql`null::text` : sql`(${newestXid(request)})`;
  return sql`
  select
    ${epochColumns}, ${newsColumns(valuesOf(topicsSince), newest)},
    tick.snapshot as tick,
    tick.top_id as tick_top,
    ${boundColumns}
  from ${newestEpoch}
  left join lateral (
    -- Of the next ticks that are ahead, each of which sees all that SINCE sees, and more, the last.
    select ahead.snapshot, ahead.top_id from (
      select t.xid, t.snapshot::text, t.top_id from (
        -- By way of text: it is then unpacked once, and not for each transaction that runs.
        select xid, top_id, snapshot::text::pg_snapshot as snapshot from pgstream.ticks
        where epoch = ${epoch.number} and xid >= ${String(since.xmax)}::text::xid8
        order by xid offset 0
      ) t
      where pg_catalog.pg_snapshot_xmax(t.snapshot) >= ${String(since.xmax)}::text::xid8
        and not exists (
          select from pg_catalog.pg_snapshot_xip(t.snapshot) x
          where pg_catalog.pg_visible_in_snapshot(x, ${formatSnapshot(since)}::text::pg_snapshot))
        -- Not by xmax alone: a tick's snapshot is as PostgreSQL took it, and its last transactions may all be running.
        and (
          pg_catalog.pg_snapshot_xmax(t.snapshot)::text::bigint - ${since.xmax} > (
            select pg_catalog.count(*) from pg_catalog.pg_snapshot_xip(t.snapshot) x where x >= ${String(since.xmax)}::text::xid8)
          or exists (
            select from pg_catalog.pg_snapshot_xip(${formatSnapshot(since)}::text::pg_snapshot) x
            where pg_catalog.pg_visible_in_snapshot(x, t.snapshot)))
      order by t.xid limit ${ticksAhead}
    ) ahead
    order by ahead.xid desc limit 1
  ) tick on true
  ${boundRows(epoch, since)}`;
};
