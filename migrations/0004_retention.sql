-- Retention. What is to go is announced and committed first, then removed: a reader that checks the announcements in a
-- later statement than the page it read is never fooled by a page that was already empty.

-- Retentions are compared as the points in time that they lead back to: as intervals a month is 30 days, whatever the calendar says.

-- The newest position that was taken by then, null when there is none.
create function pgstream.horizon(moment timestamptz) returns pg_snapshot
language sql stable set search_path = pg_catalog, pg_temp as $$
  select t.snapshot from pgstream.ticks t
  where t.epoch = (select max(number) from pgstream.epochs) and t.at <= moment
  order by t.at desc limit 1
$$;

-- The epoch that a segment's ids belong to.
create function pgstream.epoch_of(number integer) returns integer
language sql stable set search_path = pg_catalog, pg_temp as $$
  select max(e.number) from pgstream.epochs e where e.first_id >> 32 <= epoch_of.number
$$;

-- Whether the later position sees all that the earlier one sees.
create function pgstream.sees_all(later pg_snapshot, earlier pg_snapshot) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select pg_snapshot_xmax(earlier) <= pg_snapshot_xmax(later)
     and not exists (select from pg_snapshot_xip(later) x where pg_visible_in_snapshot(x, earlier))
$$;

-- Whether nothing in the segment is newer than the snapshot. By index, whatever the segment holds.
create function pgstream.segment_is_within(number integer, snapshot pg_snapshot) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  within boolean;
begin
  execute format($q$
    select coalesce((select xid < pg_snapshot_xmax($1) from pgstream.%1$I order by xid desc limit 1), true)
       and not exists (select from pgstream.%1$I where xid = any(array(select pg_snapshot_xip($1))))
  $q$, 'events_' || number) into within using snapshot;
  return within;
end $$;

-- A position taken by then that everything in the segment is within; null when there is none.
create function pgstream.segment_floor(number integer, moment timestamptz) returns pg_snapshot
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  own integer := pgstream.epoch_of(number);
  floor pg_snapshot;
begin
  if own < (select max(e.number) from pgstream.epochs e) then
    -- Ticks of the newest epoch say nothing of an earlier one's xids; that a later one opened long ago does.
    return (select e.snapshot from pgstream.epochs e where e.number = own + 1 and e.opened_at <= moment);
  end if;
  floor := pgstream.horizon(moment);
  if floor is null or not pgstream.segment_is_within(number, floor) then
    return null;
  end if;
  return floor;
end $$;

-- Whether the segment holds events of a topic with a longer retention whose time has not come. One look for all such topics, which ends
-- with the first event found.
create function pgstream.is_kept_longer(number integer, retention interval) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  topics integer[];
  kept boolean;
begin
  select array_agg(topic_id) into topics
    from (
      select array_agg(t.id) as ids, now() - t.retention as moment from pgstream.topics t
      where now() - t.retention < now() - is_kept_longer.retention group by 2
    ) longer, unnest(ids) topic_id
    where pgstream.segment_floor(number, moment) is null;
  if topics is null then
    return false;
  end if;
  execute format('select exists (select from pgstream.%I where topic_id = any($1))', 'events_' || number) into kept using topics;
  return kept;
end $$;

-- The segments whose time has come and that are not announced yet, oldest first: the position up to which their events
-- go, when they were in use, and, if asked for, how many events they hold.
create function pgstream.expired_segments(retention interval, counted boolean default false)
returns table (segment integer, floor pg_snapshot, opened_at timestamptz, closed_at timestamptz, events bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- Whether one was opened is not asked: ids run on into the next segment by themselves when nobody rolls.
  for segment, opened_at, closed_at in
    select s.segment, coalesce(s.opened_at, s.attached_at),
      (select min(n.opened_at) from pgstream.segments n where n.segment > s.segment)
    from pgstream.segments s
    where s.segment < pgstream.current_segment() and s.emptied_at is null
      and not exists (select from pgstream.purges p where p.segment = s.segment)
    order by s.segment
  loop
    floor := pgstream.segment_floor(segment, now() - retention);
    -- In order, without holes: what is below the floor is gone, what is above is there. Which topics a segment holds is costly to
    -- ask: only of one that is old enough for the others.
    exit when floor is null or pgstream.is_kept_longer(segment, retention);
    if counted then
      execute format('select count(*) from pgstream.%I', 'events_' || segment) into events;
    end if;
    return next;
  end loop;
end $$;

-- Whether the newest epoch is this server's: before it is open, purges would be numbered as those of another.
create function pgstream.is_newest_server() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select pgstream.is_this_server(e) from pgstream.epochs e order by e.number desc limit 1
$$;

-- Announces that a segment is about to be emptied; answers the purge's id and how many events it is about, nothing when something
-- newer has come into it. Repeated, it answers the same. The segment in use is nobody's to purge: the lock would stop who publishes.
create function pgstream.announce_segment_purge(number integer, floor pg_snapshot, out purge bigint, out events bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  own pgstream.epochs;
  is_newest boolean;
  counts pgstream.purged_topics[];
  trims bigint[];
  newest bigint;
  last_xid bigint;
  lowest pg_snapshot;
begin
  if pgstream.is_newest_server() is not true
     or not exists (select from pgstream.segments s where s.segment = number and s.segment < pgstream.current_segment()) then
    return;
  end if;
  -- Counted before the lock is taken: it may take minutes, and the lock is needed for rolling. Not for nothing, round after
  -- round, while somebody stands in the way of the lock on the segment.
  if not exists (select from pgstream.purges p where p.segment = number) then
    if exists (
      select from pg_locks l
      where l.database = (select d.oid from pg_database d where d.datname = current_database())
        and l.relation = format('pgstream.%I', 'events_' || number)::regclass and l.granted
        and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
    then
      raise lock_not_available using message = format('somebody holds a lock on segment %s: it is not purged before that ends', number);
    end if;
    select array_agg(p.id) filter (where p.topic_id is not null and p.done_at is null), max(p.id) into trims, newest
      from pgstream.purges p;
    execute format(
      'select array_agg(row(0, c.*)::pgstream.purged_topics) from (
         select topic_id, count(*), min(xid::text::bigint)::text::xid8, max(xid::text::bigint)::text::xid8
         from pgstream.%I group by topic_id) c', 'events_' || number) into counts;
  end if;
  -- Held until the commit, so that purges become visible in the order of their ids.
  perform pg_advisory_xact_lock(1885827956, 3);
  select p.id into purge from pgstream.purges p where p.segment = number;
  if found then
    events := (select coalesce(sum(t.events), 0) from pgstream.purged_topics t where t.purge_id = purge);
    return;
  end if;
  select * into own from pgstream.epochs e where e.number = pgstream.epoch_of(announce_segment_purge.number);
  is_newest := own.number = (select max(e.number) from pgstream.epochs e);
  -- A position that is still to come is not one that is old enough. Of an earlier epoch's it cannot be told.
  if floor is null or (is_newest and not pgstream.sees_all(pg_current_snapshot(), floor)) then
    return;
  end if;
  -- Who still writes into the segment has events in it that nobody sees yet: a subscription that begins above the segment meanwhile
  -- would pass them over. Readers are not stopped by this lock.
  execute format('lock table pgstream.%I in share mode', 'events_' || number);
  if is_newest and not pgstream.segment_is_within(number, floor) then
    return;
  end if;
  -- By another purger: who has been told of that trim would be told of the same events once more.
  if exists (select from pgstream.purges p
             where p.topic_id is not null and p.done_at is not null and (p.id = any(trims) or p.id > coalesce(newest, 0))) then
    raise lock_not_available using message = format('a topic was trimmed while segment %s was counted', number);
  end if;
  select coalesce(sum(c.events), 0), max(c.last_xid::text::bigint) into events, last_xid from unnest(counts) c;
  -- As low as the segment allows: what starts at the floor would not be shown events of later segments below it.
  if last_xid is null then
    lowest := coalesce((select p.floor from pgstream.purges p where p.epoch = own.number and p.segment is not null
                        order by p.id desc limit 1), own.snapshot);
  else
    lowest := pgstream.snapshot_below(floor, (last_xid + 1)::text::xid8);
  end if;
  insert into pgstream.purges (epoch, floor, segment, first_id, last_id)
    values (own.number, lowest, number, number::bigint << 32, ((number + 1)::bigint << 32) - 1)
    returning id into purge;
  insert into pgstream.purged_topics (purge_id, topic_id, events, first_xid, last_xid)
    select purge, c.topic_id, c.events, c.first_xid, c.last_xid from unnest(counts) c;
end $$;

-- Empties an announced segment: TRUNCATE, which takes milliseconds and stops nobody but readers of this very segment.
-- Answers false, and takes the announcement back, when something newer has come into it meanwhile; null when it was emptied before.
create function pgstream.empty_segment(purge bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  announced pgstream.purges;
begin
  perform pg_advisory_xact_lock(1885827956, 3);
  select * into announced from pgstream.purges p where p.id = purge and p.segment is not null;
  if not found then
    return false;
  end if;
  if announced.done_at is not null then
    return null;
  end if;
  execute format('lock table pgstream.%I in access exclusive mode', 'events_' || announced.segment);
  if announced.epoch = (select max(number) from pgstream.epochs)
     and not pgstream.segment_is_within(announced.segment, announced.floor) then
    delete from pgstream.purged_topics p where p.purge_id = purge;
    delete from pgstream.purges p where p.id = purge;
    return false;
  end if;
  execute format('truncate pgstream.%I', 'events_' || announced.segment);
  update pgstream.purges p set done_at = clock_timestamp() where p.id = purge;
  update pgstream.segments s set emptied_at = clock_timestamp() where s.segment = announced.segment;
  return true;
end $$;

-- The transactions that were running at the earlier position and are seen at the later: late commits.
create function pgstream.late_xids(since pg_snapshot, floor pg_snapshot) returns xid8[]
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select array(select x from pg_snapshot_xip(since) x where pg_visible_in_snapshot(x, floor))
$$;

-- The events of one topic between two positions: visible in the later, not in the earlier. Planned with the bounds at
-- hand, so that segments below them are neither read nor locked.
create function pgstream.topic_window(topic integer, since pg_snapshot, floor pg_snapshot, first_id bigint)
returns table (id bigint, xid xid8)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  late xid8[] := pgstream.late_xids(since, floor);
  bound bigint := greatest(
    first_id,
    (select min(s.segment)::bigint << 32 from pgstream.segments s where s.emptied_at is null),
    (select t.last_id + 1 from pgstream.ticks t
     where t.epoch = (select max(number) from pgstream.epochs) and t.xid <= pg_snapshot_xmin(since)
     order by t.xid desc limit 1));
begin
  return query execute
    'select e.id, e.xid from pgstream.events e
     where e.topic_id = $1 and e.id >= $2
       and e.xid >= pg_snapshot_xmax($3) and e.xid < pg_snapshot_xmax($4) and pg_visible_in_snapshot(e.xid, $4)'
    using topic, bound, since, floor;
  if cardinality(late) > 0 then
    return query execute
      'select e.id, e.xid from pgstream.events e where e.topic_id = $1 and e.id >= $2 and e.xid = any($3)'
      using topic, bound, late;
  end if;
end $$;

-- Topics that were looked through since their last trim, and nothing was found: where the next look begins. Else each one passes over all
-- that is between its own retention and everybody's.
create table pgstream.topic_looks (
  topic_id integer primary key,
  epoch integer not null,
  floor pg_snapshot not null,
  at timestamptz not null default now()
) with (fillfactor = 50);

-- The position up to which the topic has been trimmed or looked through, or is about to be.
create function pgstream.trimmed_up_to(topic integer, epoch pgstream.epochs) returns pg_snapshot
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(
    (select l.floor from pgstream.topic_looks l where l.topic_id = topic and l.epoch = epoch.number),
    (select p.floor from pgstream.purges p where p.topic_id = topic and p.epoch = epoch.number order by p.id desc limit 1),
    epoch.snapshot)
$$;
create index purges_topic_id on pgstream.purges (topic_id, epoch, id);

-- The topics with a retention shorter than everybody's that may have something to trim: between which positions, and, if asked for, how
-- many events; then only those that have some. By tick, never by created_at: an event of a long transaction would be born expired. Twenty
-- times within its retention is often enough: each trim is a row that is kept.
create function pgstream.expired_topics(retention interval, counted boolean default false)
returns table (topic_id integer, name text, events bigint, since pg_snapshot, floor pg_snapshot)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  current pgstream.epochs;
begin
  select * into current from pgstream.epochs order by number desc limit 1;
  for topic_id, name, since, floor in
    select t.id, t.name, pgstream.trimmed_up_to(t.id, current), pgstream.horizon(now() - t.retention)
    from pgstream.topics t
    where now() - t.retention > now() - expired_topics.retention
      and not exists (select from pgstream.purges p
                      where p.topic_id = t.id and p.epoch = current.number and p.announced_at > now() - t.retention / 20)
      and not exists (select from pgstream.topic_looks l
                      where l.topic_id = t.id and l.epoch = current.number and l.at > now() - t.retention / 20)
    order by t.id
  loop
    continue when floor is null or floor::text = since::text or pg_snapshot_xmax(floor) < pg_snapshot_xmax(since);
    if counted then
      select count(*) into events from pgstream.topic_window(topic_id, since, floor, current.first_id);
      continue when events = 0;
    end if;
    return next;
  end loop;
end $$;

-- Announces that a topic is about to be trimmed; answers the purge's id and how many events it is about. Nothing when it has no such
-- events, which is remembered, or another purger was faster.
create function pgstream.announce_topic_purge(
  topic integer, since pg_snapshot, floor pg_snapshot, out purge bigint, out events bigint
) language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  current pgstream.epochs;
  counted record;
begin
  if pgstream.is_newest_server() is not true or pgstream.sees_all(pg_current_snapshot(), floor) is not true then
    return;
  end if;
  select * into current from pgstream.epochs order by number desc limit 1;
  select count(*) as events, min(w.id) as first_id, max(w.id) as last_id,
      min(w.xid::text::bigint)::text::xid8 as first_xid, max(w.xid::text::bigint)::text::xid8 as last_xid
    into counted from pgstream.topic_window(topic, since, floor, current.first_id) w;
  perform pg_advisory_xact_lock(1885827956, 3);
  if counted.events = 0 and pgstream.trimmed_up_to(topic, current)::text = since::text then
    insert into pgstream.topic_looks (topic_id, epoch, floor) values (topic, current.number, floor)
      on conflict (topic_id) do update set epoch = excluded.epoch, floor = excluded.floor, at = excluded.at;
  end if;
  -- Windows of one topic must not overlap: what is in two of them would be counted twice.
  if counted.events = 0 or pgstream.trimmed_up_to(topic, current)::text is distinct from since::text then
    return;
  end if;
  insert into pgstream.purges (epoch, floor, since, topic_id, first_id, last_id)
    values (current.number, floor, since, topic, counted.first_id, counted.last_id)
    returning id into purge;
  insert into pgstream.purged_topics (purge_id, topic_id, events, first_xid, last_xid)
    values (purge, topic, counted.events, counted.first_xid, counted.last_xid);
  delete from pgstream.topic_looks l where l.topic_id = topic;
  events := counted.events;
end $$;

comment on column pgstream.purges.since is
  'Trimming one topic: only events not visible in this one are removed. It moves up to the floor as they go.';

-- Removes at most `events_max` events of an announced trim; answers how many, fewer than that when it is done.
create function pgstream.trim_topic(purge bigint, events_max integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  announced pgstream.purges;
  late xid8[];
  part text;
  n integer;
  removed integer := 0;
  last_xid bigint;
begin
  select * into announced from pgstream.purges p
    where p.id = purge and p.topic_id is not null and p.done_at is null for update;
  if not found or events_max is null then
    return 0;
  end if;
  late := pgstream.late_xids(announced.since, announced.floor);
  foreach part in array array[
    'e.xid = any($6)',
    'e.xid >= pg_snapshot_xmax($4) and e.xid < pg_snapshot_xmax($5) and pg_visible_in_snapshot(e.xid, $5)'
  ] loop
    continue when part like '%$6%' and cardinality(late) = 0;
    execute format($q$
      with doomed as materialized (
        select e.id, e.xid from pgstream.events e
        where e.topic_id = $1 and e.id between $2 and $3 and %s
        order by e.xid limit $7
      ), gone as (
        delete from pgstream.events e
        where e.id between $2 and $3 and e.id = any(array(select d.id from doomed d))
      )
      select count(*), max(d.xid::text::bigint) from doomed d
    $q$, part) into n, last_xid
      using announced.topic_id, announced.first_id, announced.last_id, announced.since, announced.floor, late,
        events_max - removed;
    removed := removed + n;
    exit when removed = events_max;
  end loop;
  if removed < events_max then
    update pgstream.purges p set done_at = clock_timestamp() where p.id = purge;
  elsif last_xid >= pg_snapshot_xmax(announced.since)::text::bigint then
    -- The next batch begins where this one ended, instead of passing over what it left dead in the index.
    update pgstream.purges p set since = pgstream.snapshot_below(p.floor, last_xid::text::xid8) where p.id = purge;
  end if;
  return removed;
end $$;

-- Announced, but not finished: what a purger that was killed left for the next.
create function pgstream.unfinished_purges() returns table (id bigint, segment integer, topic_id integer, events bigint)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select p.id, p.segment, p.topic_id, coalesce((select sum(t.events) from pgstream.purged_topics t where t.purge_id = p.id), 0)::bigint
  from pgstream.purges p where p.done_at is null order by p.id
$$;

-- Forgets what nobody may ask for any more, at most `rows_max` rows of a kind; answers how many rows went.
-- Ticks live as long as the events they bound, and the newest one older than that stays. A publisher is remembered
-- while the server is young: after an outage longer than the window its last batch may still be on its way.
create function pgstream.forget(retention interval, rows_max integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  oldest timestamptz := least(now() - retention, (select min(now() - t.retention) from pgstream.topics t));
  idempotency_window interval := (select s.idempotency_window from pgstream.settings s where s.only_row);
  n integer;
  total integer := 0;
begin
  if retention is null or rows_max is null then
    return 0;
  end if;
  delete from pgstream.ticks t using (
    select o.epoch, o.xid
    from pgstream.epochs e
    cross join lateral (
      select max(k.at) as at from pgstream.ticks k where k.epoch = e.number and k.at <= oldest) kept
    cross join lateral (
      select * from pgstream.ticks k where k.epoch = e.number and k.at < kept.at order by k.at limit rows_max) o
    limit rows_max) old
    where t.epoch = old.epoch and t.xid = old.xid;
  get diagnostics n = row_count;
  total := total + n;
  delete from pgstream.idempotency_keys k where (k.topic_id, k.key) in (
    select o.topic_id, o.key from pgstream.idempotency_keys o where o.at < now() - idempotency_window limit rows_max);
  get diagnostics n = row_count;
  total := total + n;
  if pg_postmaster_start_time() < now() - idempotency_window then
    delete from pgstream.publishers p where p.id in (
      select o.id from pgstream.publishers o where o.at < now() - greatest(idempotency_window, '7 days') limit rows_max);
    get diagnostics n = row_count;
    total := total + n;
  end if;
  return total;
end $$;
