//! What is asked of the newest epoch, wherever it is asked: over the row `e` of pgstream.epochs.

import { sql } from "../statement.ts";
/** Without asking who the server is: on a connection that has been asked, that can not change. */
export const knownEpochColumns = sql`
  pg_catalog.pg_is_in_recovery() as standby, e.number, e.id, e.first_id::text as first_id, e.snapshot::text as snapshot, true as running`;

/** Also whether the server is still the one that the epoch was opened on. */
export const epochColumns = sql`
  pg_catalog.pg_is_in_recovery() as standby, e.number, e.id, e.first_id::text as first_id, e.snapshot::text as snapshot,
  case when pg_catalog.pg_is_in_recovery() then false else
    (e.system_identifier, e.timeline, e.database_oid, e.events_oid) = (
      (select system_identifier from pg_catalog.pg_control_system()),
      ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer,
      (select oid from pg_database where datname = pg_catalog.current_database()),
      'pgstream.events'::regclass::oid)
  end as running`;
