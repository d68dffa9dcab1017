//! The news of a live read: one row, which travels as one text in front of the events.

import { PgstreamError } from "../../../core/errors.ts";
import { orNull, separator } from "../joined-text.ts";
import { type Fragment, sql, type Statement } from "../statement.ts";
import { epochColumns, knownEpochColumns } from "./epoch-columns.ts";
import { newestEpoch, type NewsColumns, newsColumns, type SnapshotValues } from "./select-look.ts";

/** Also how far the log has got, whatever the snapshot, and who says so. */
export interface LiveNewsColumns extends NewsColumns {
  /** Of the last id handed out. */
  readonly last_segment: number;
  /** Another one on each connection. */
  readonly session: string;
}

export interface LiveNewsParts {
  /** Whether to ask the server who it is. */
  readonly identify: boolean;
  readonly topicsSince: SnapshotValues;
  /** The statement for the greatest xid of an event, as text. */
  readonly newestXid: Fragment;
}

export const selectNews = ({
  identify,
  topicsSince,
  newestXid,
}: LiveNewsParts): Statement<LiveNewsColumns> => sql`
  select ${identify ? epochColumns : knownEpochColumns}, ${newsColumns(topicsSince, sql`(${newestXid})`)},
    (select (last_value >> 32)::integer from pgstream.event_ids) as last_segment,
    pg_catalog.concat(pg_catalog.pg_backend_pid(), ' ', pg_catalog.pg_postmaster_start_time()) as session
  from ${newestEpoch}`;

/** The row as text. No value holds what joins them, and as JSON it would take a third of the whole read. */
export const newsAsText = (news: Fragment) => sql`
  select pg_catalog.concat_ws(pg_catalog.chr(30), n.standby, n.number, n.id, n.first_id, n.snapshot, coalesce(n.running, false), n.current,
    coalesce(n.newest_xid, ''), n.purge, coalesce(n.topics, ''), n.last_segment, n.session) from (${news}) n`;

export const parseNews = (text: string): LiveNewsColumns => {
  const values = text.split(separator);
  const at = (index: number): string => {
    const value = values[index];
    if (value === undefined) throw new PgstreamError("internal", "the news of a live read are cut short");
    return value;
  };
  return {
    standby: at(0) === "t",
    number: Number(at(1)),
    id: at(2),
    first_id: at(3),
    snapshot: at(4),
    running: at(5) === "t",
    current: at(6),
    newest_xid: orNull(at(7)),
    purge: at(8),
    topics: orNull(at(9)),
    last_segment: Number(at(10)),
    session: at(11),
  };
};
