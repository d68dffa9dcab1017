-- Retention. What is to go is announced and committed first, then removed: a reader that checks the announcements in a
-- later statement than the page it read is never fooled by a page that was already empty.

-- The newest position that is at least this old, null when there is none.
create function pgstream.horizon(age interval) returns pg_snapshot
language sql stable set search_path = pg_catalog, pg_temp as $$
  select t.snapshot from pgstream.ticks t
  where t.epoch = (select max(number) from pgstream.epochs) and t.at <= now() - age
  order by t.at desc limit 1
$$;

-- The epoch that a segment's ids belong to.
create function pgstream.epoch_of(number integer) returns integer
language sql stable set search_path = pg_catalog, pg_temp as $$
  select max(e.number) from pgstream.epochs e where e.first_id <= number::bigint << 32
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

-- How long a segment must live: as long as the longest of its topics, at least `retention`.
create function pgstream.segment_retention(number integer, retention interval) returns interval
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  longest interval := retention;
  topic record;
  present boolean;
begin
  for topic in select t.id, t.retention from pgstream.topics t where t.retention > segment_retention.retention loop
    execute format('select exists (select from pgstream.%I where topic_id = $1)', 'events_' || number)
      into present using topic.id;
    if present then
      longest := greatest(longest, topic.retention);
    end if;
  end loop;
  return longest;
end $$;

-- The segments whose time has come, oldest first, each with the position up to which its events go.
create function pgstream.expired_segments(retention interval) returns table (segment integer, floor pg_snapshot)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  candidate record;
  lifetime interval;
begin
  for candidate in
    select s.segment as number, pgstream.epoch_of(s.segment) as epoch
    from pgstream.segments s
    where s.opened_at is not null and s.emptied_at is null and s.segment < pgstream.current_segment()
    order by s.segment
  loop
    lifetime := pgstream.segment_retention(candidate.number, retention);
    if candidate.epoch < (select max(number) from pgstream.epochs) then
      -- Ticks of this epoch say nothing of an earlier one's xids; that a later one opened long ago does.
      select e.snapshot into floor from pgstream.epochs e
        where e.number = candidate.epoch + 1 and e.opened_at <= now() - lifetime;
    else
      floor := pgstream.horizon(lifetime);
      if not pgstream.segment_is_within(candidate.number, floor) then
        floor := null;
      end if;
    end if;
    -- In order, without holes: what is below the floor is gone, what is above is there.
    exit when floor is null;
    segment := candidate.number;
    return next;
  end loop;
end $$;

-- Announces that a segment is about to be emptied; answers the purge's id. Repeated, it answers the same one.
create function pgstream.announce_segment_purge(number integer, floor pg_snapshot) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  purge bigint;
begin
  perform pg_advisory_xact_lock(1885827956, 3);
  select id into purge from pgstream.purges p where p.segment = number;
  if found then
    return purge;
  end if;
  insert into pgstream.purges (epoch, floor, segment, first_id, last_id)
    values (pgstream.epoch_of(number), floor, number, number::bigint << 32, ((number + 1)::bigint << 32) - 1)
    returning id into purge;
  execute format(
    'insert into pgstream.purged_topics (purge_id, topic_id, events, first_xid, last_xid)
     select $1, topic_id, count(*), min(xid::text::bigint)::text::xid8, max(xid::text::bigint)::text::xid8
     from pgstream.%I group by topic_id', 'events_' || number) using purge;
  return purge;
end $$;

-- Empties an announced segment: TRUNCATE, which takes milliseconds and stops nobody but readers of this very segment.
-- Answers false, and takes the announcement back, when something newer has come into it meanwhile.
create function pgstream.empty_segment(purge bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  announced pgstream.purges;
begin
  perform pg_advisory_xact_lock(1885827956, 3);
  select * into announced from pgstream.purges p where p.id = purge and p.segment is not null;
  if not found or announced.done_at is not null then
    return found;
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

-- The events of one topic between two positions: visible in the later, not in the earlier.
create function pgstream.topic_window(topic integer, since pg_snapshot, floor pg_snapshot, first_id bigint)
returns table (id bigint, xid xid8)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select e.id, e.xid from pgstream.events e
  where e.topic_id = topic and e.id >= first_id
    and e.xid >= pg_snapshot_xmax(since) and e.xid < pg_snapshot_xmax(floor) and pg_visible_in_snapshot(e.xid, floor)
  union all
  select e.id, e.xid from pgstream.events e
  where e.topic_id = topic and e.id >= first_id
    and e.xid = any(array(select x from pg_snapshot_xip(since) x where pg_visible_in_snapshot(x, floor)))
$$;

-- The topics with a retention shorter than everybody's that have something to trim: how many events, between which
-- positions. By tick, never by created_at: an event of a long transaction would be born expired.
create function pgstream.expired_topics(retention interval)
returns table (topic_id integer, name text, events bigint, since pg_snapshot, floor pg_snapshot)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  current pgstream.epochs;
begin
  select * into current from pgstream.epochs order by number desc limit 1;
  for topic_id, name, since, floor in
    select t.id, t.name,
      coalesce((select p.floor from pgstream.purges p
                where p.topic_id = t.id and p.epoch = current.number order by p.id desc limit 1), current.snapshot),
      pgstream.horizon(t.retention)
    from pgstream.topics t where t.retention < expired_topics.retention
  loop
    continue when floor is null or pg_snapshot_xmax(floor) < pg_snapshot_xmax(since);
    select count(*) into events from pgstream.topic_window(topic_id, since, floor, current.first_id);
    if events > 0 then
      return next;
    end if;
  end loop;
end $$;

-- Announces that a topic is about to be trimmed; answers the purge's id.
create function pgstream.announce_topic_purge(topic integer, since pg_snapshot, floor pg_snapshot) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  current pgstream.epochs;
  purge bigint;
begin
  perform pg_advisory_xact_lock(1885827956, 3);
  select * into current from pgstream.epochs order by number desc limit 1;
  if exists (select from pgstream.purges p where p.topic_id = topic and p.epoch = current.number
             and pg_snapshot_xmax(p.floor) >= pg_snapshot_xmax(announce_topic_purge.floor)) then
    return null; -- another purger was faster
  end if;
  insert into pgstream.purges (epoch, floor, since, topic_id, first_id, last_id)
    select current.number, announce_topic_purge.floor, announce_topic_purge.since, topic, min(w.id), max(w.id)
    from pgstream.topic_window(topic, since, floor, current.first_id) w
    having count(*) > 0
    returning id into purge;
  insert into pgstream.purged_topics (purge_id, topic_id, events, first_xid, last_xid)
    select purge, topic, count(*), min(w.xid::text::bigint)::text::xid8, max(w.xid::text::bigint)::text::xid8
    from pgstream.topic_window(topic, since, floor, current.first_id) w
    having purge is not null;
  return purge;
end $$;

-- Removes at most `events_max` events of an announced trim; answers how many, 0 when it is done.
create function pgstream.trim_topic(purge bigint, events_max integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  announced pgstream.purges;
  removed integer;
begin
  select * into announced from pgstream.purges p where p.id = purge and p.topic_id is not null for update;
  delete from pgstream.events e
    where e.id between announced.first_id and announced.last_id
      and e.id = any(array(
        select w.id from pgstream.topic_window(announced.topic_id, announced.since, announced.floor, announced.first_id) w
        limit events_max));
  get diagnostics removed = row_count;
  if removed = 0 then
    update pgstream.purges p set done_at = clock_timestamp() where p.id = purge and p.done_at is null;
  end if;
  return removed;
end $$;

-- Announced, but not finished: what a purger that was killed left for the next.
create function pgstream.unfinished_purges() returns table (id bigint, segment integer, topic_id integer)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select p.id, p.segment, p.topic_id from pgstream.purges p where p.done_at is null order by p.id
$$;

-- Forgets what nobody may ask for any more, at most `rows_max` rows of a kind; answers how many rows went.
-- Ticks live as long as the events they bound, and the newest one older than that stays. A publisher is remembered
-- while the server is young: after an outage longer than the window its last batch may still be on its way.
create function pgstream.forget(retention interval, rows_max integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  longest interval := greatest(retention, (select max(t.retention) from pgstream.topics t));
  idempotency_window interval := (select s.idempotency_window from pgstream.settings s);
  n integer;
  total integer := 0;
begin
  delete from pgstream.ticks t where (t.epoch, t.xid) in (
    select o.epoch, o.xid from pgstream.ticks o
    where o.at < (select max(k.at) from pgstream.ticks k where k.epoch = o.epoch and k.at <= now() - longest)
    order by o.epoch, o.xid limit rows_max);
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
