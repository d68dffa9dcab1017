-- The log: events, and what gives a position in it a meaning.
--
-- A backslash stands in E'' alone: what it means in '' is the caller's setting (standard_conforming_strings).
--
-- Everything lives in schema pgstream, which the migrator has made. Advisory locks are pairs (1885827956, n), the
-- first number being "pgst" in ASCII: 1 migrations, 2 epochs, 3 segments, 4 ticks, 5 the purger at work.

-- What publish() obeys. One row; the migrator writes what was configured, and tick() what the server is known by.
create table pgstream.settings (
  only_row boolean primary key default true check (only_row),
  create_topics boolean not null default true,
  event_bytes_max integer not null default 1048576 check (event_bytes_max > 0),
  idempotency_window interval not null default '24 hours' check (idempotency_window > '0'),
  server_started_at timestamptz,
  epochs_path text,
  events_oid oid
);
insert into pgstream.settings default values;
comment on column pgstream.settings.server_started_at is 'Of the server that was last seen to be the one of the newest epoch.';

-- What an index is to find is text collate "C": any other order changes with the system's libraries, and an index that was made in the
-- old one misses rows. xid: which transaction made the topic, so that readers learn of new topics as they learn of new events.
create table pgstream.topics (
  id integer generated always as identity primary key,
  name text collate "C" not null unique
    check (length(name) <= 249 and name ~ '^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$'),
  retention interval check (retention > '0'),
  xid xid8 not null default pg_current_xact_id(),
  created_at timestamptz not null default now(),
  -- now() less this must be a time. Not finite (PostgreSQL 17 and later): for ever.
  constraint topics_retention_max check (retention <= '1000 years' or not isfinite(retention))
);
create index topics_xid on pgstream.topics (xid);
comment on column pgstream.topics.retention is 'How long events of this topic live; null: as long as RETENTION says.';

-- Ids are handed out one by one (cache 1): a cached block would let a later publish draw smaller ids.
create sequence pgstream.event_ids as bigint cache 1;

-- json, not jsonb: it keeps the publisher's bytes, and is faster both ways. (xid, topic_id) in this order: new events
-- go to the end of the index, whatever their topic. Measurements in docs/decisions.md.
create table pgstream.events (
  xid xid8 not null,
  id bigint not null,
  created_at timestamptz not null,
  topic_id integer not null,
  key text,
  type text,
  headers json,
  data json not null,
  primary key (id)
) partition by range (id);
create index events_xid_topic_id on pgstream.events (xid, topic_id);

-- Partitions of events, each 2^32 ids wide: `id >> 32` is the segment.
create table pgstream.segments (
  segment integer primary key,
  attached_at timestamptz not null default now(),
  settled_at timestamptz,
  opened_at timestamptz,
  emptied_at timestamptz
);
comment on column pgstream.segments.settled_at is 'Since when every backend is sure to know of the segment; null: not yet.';
comment on column pgstream.segments.opened_at is 'When ids of this segment began to be handed out; null: not yet.';

-- Nobody ever locks this table. publish() opens it to make its backend take in what happened to the partitions
-- of events meanwhile: without it, the second publish of an open transaction fails after a segment roll.
create table pgstream.catalog_refresh ();

-- A stretch of history in which xids and ids only grow: they do not survive a failover that lost commits, or a
-- dump and restore. Identified by what the server says of itself; `id` is what cursors carry.
create table pgstream.epochs (
  number integer primary key,
  id uuid not null unique default gen_random_uuid(),
  system_identifier bigint not null,
  timeline integer not null,
  database_oid oid not null,
  events_oid oid not null,
  first_id bigint not null,
  snapshot pg_snapshot not null,
  carried xid8[] not null default '{}',
  opened_at timestamptz not null default now()
);
comment on column pgstream.epochs.snapshot is 'What was visible when the epoch opened: the position before its first event.';
comment on column pgstream.epochs.carried is 'Transactions prepared in the earlier epoch that may still commit in this one.';

-- Positions taken now and then. Every transaction whose xid is above a tick's xid has only ids above its last_id, and
-- what its snapshot sees has ids up to its top_id.
create table pgstream.ticks (
  epoch integer not null,
  xid xid8 not null,
  snapshot pg_snapshot not null,
  last_id bigint not null,
  top_id bigint not null,
  at timestamptz not null,
  primary key (epoch, xid)
);
create index ticks_at on pgstream.ticks (epoch, at);

-- What retention removed, announced before it is removed, so that a late subscription can be told.
create table pgstream.purges (
  id bigint generated always as identity primary key,
  epoch integer not null,
  floor pg_snapshot not null,
  since pg_snapshot,
  segment integer,
  topic_id integer,
  first_id bigint not null,
  last_id bigint not null,
  announced_at timestamptz not null default now(),
  done_at timestamptz,
  check ((segment is null) <> (topic_id is null))
);
comment on column pgstream.purges.floor is 'Only events visible in this snapshot were removed.';
comment on column pgstream.purges.since is 'Trimming one topic: only events not visible in this one were.';

create table pgstream.purged_topics (
  purge_id bigint not null references pgstream.purges (id),
  topic_id integer not null,
  events bigint not null,
  first_xid xid8 not null,
  last_xid xid8 not null,
  primary key (purge_id, topic_id)
);

-- Who published what last, in which transaction: its events are the answer to a repeat. A publisher sends batch n + 1 only
-- when it knows the fate of n, so one row remembers all that its own retries can ask for. Rewritten in place, hence the
-- room for updates within the page.
create table pgstream.publishers (
  id uuid primary key,
  batch bigint not null,
  xid xid8 not null,
  answer bigint[],
  at timestamptz not null default now()
) with (fillfactor = 50);
comment on column pgstream.publishers.answer is 'The ids that were answered, where some of them are of earlier batches.';

create table pgstream.idempotency_keys (
  topic_id integer not null,
  key text collate "C" not null,
  digest bytea not null,
  event_id bigint,
  at timestamptz not null default clock_timestamp(),
  primary key (topic_id, key)
) with (fillfactor = 50);
create index idempotency_keys_at on pgstream.idempotency_keys using brin (at) with (autosummarize = on);

-- What this server says of itself. The oid of the database is in the path of any of its tables.
create function pgstream.server_identity(
  out system_identifier bigint, out timeline integer, out database_oid oid, out events_oid oid
) language sql set search_path = pg_catalog, pg_temp as $$
  select
    (pg_control_system()).system_identifier,
    ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer,
    split_part(pg_relation_filepath('pgstream.epochs'), '/', -2)::oid,
    'pgstream.events'::regclass::oid
$$;

-- The same without a call: a body like this one becomes part of the statement it is used in.
create function pgstream.is_this_server(epoch pgstream.epochs) returns boolean
language sql
return (epoch.system_identifier, epoch.timeline, epoch.database_oid, epoch.events_oid) = (
  (pg_catalog.pg_control_system()).system_identifier,
  ('x' operator(pg_catalog.||) pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer,
  pg_catalog.split_part(pg_catalog.pg_relation_filepath('pgstream.epochs'), '/', -2)::oid,
  'pgstream.events'::regclass::oid);

-- Whether this is the very server, not restarted since, that was seen to be the one of the newest epoch: a tenth of the
-- work of asking for its identity. It cannot have been promoted since: whoever saw it wrote it down here, as a primary. A standby,
-- a dump or a copy of the database has a start or a path of its own.
create function pgstream.is_known_server(settings pgstream.settings) returns boolean
language sql
return coalesce((settings.server_started_at, settings.epochs_path, settings.events_oid) = (
  pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_relation_filepath('pgstream.epochs'), 'pgstream.events'::regclass::oid), false);

-- Makes a segment and attaches it, while it is empty: there is nothing to scan. No CHECK of its own: every publish would
-- read it anew, an eighth of what a small batch costs.
create function pgstream.attach_segment(number integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  name text := 'events_' || number;
  first_id bigint := number::bigint << 32;
  grantee text;
begin
  execute format(
    'create table pgstream.%I (like pgstream.events including defaults including storage)', name);
  -- Readers are let in by events alone. What the database's default privileges gave would stay until the next migrator.
  for grantee in
    select distinct case a.grantee when 0 then 'public' else a.grantee::regrole::text end
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = format('pgstream.%I', name)::regclass and a.grantee <> c.relowner
  loop
    execute format('revoke all on pgstream.%I from %s', name, grantee);
  end loop;
  execute format(
    'alter table pgstream.events attach partition pgstream.%I for values from (%s) to (%s)',
    name, first_id, first_id + (1::bigint << 32));
  insert into pgstream.segments (segment) values (number);
end $$;

-- Segment 0 to begin with, 1 to roll to, 2^15 (id 2^47) for the epoch after this one.
select pgstream.attach_segment(number) from unnest(array[0, 1, 32768]) number;
update pgstream.segments set settled_at = now(), opened_at = case when segment = 0 then now() end;

insert into pgstream.epochs (number, system_identifier, timeline, database_oid, events_oid, first_id, snapshot)
select 1, i.*, 1, pg_current_snapshot() from pgstream.server_identity() i;

update pgstream.settings set server_started_at = pg_postmaster_start_time(),
  epochs_path = pg_relation_filepath('pgstream.epochs'), events_oid = 'pgstream.events'::regclass;
