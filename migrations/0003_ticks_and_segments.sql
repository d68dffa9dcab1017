-- What keeps the log running: ticks that cut it into windows, and segments that hold it.

-- The last id that was handed out, 0 when none was. Never a greater one: while nextval() writes its WAL record, whoever selects from the
-- sequence may read the id that is 32 ahead, for its row is read when the page is not locked any more (one in 20,000 reads beside two
-- sessions that draw ids). Where too much does no harm, the sequence is asked directly: this takes its lock.
create function pgstream.last_id() returns bigint
language sql set search_path = pg_catalog, pg_temp as $$
  select coalesce(s.last_value, 0) from pg_sequences s where s.schemaname = 'pgstream' and s.sequencename = 'event_ids'
$$;

-- Writes a tick when ids were handed out since the last one; answers whether it did. On a server that is not the one of the newest
-- epoch it opens the next epoch instead. A transaction of its own:
-- with an xid taken earlier, or a snapshot older than last_id, what a tick claims would be false.
create function pgstream.tick() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  newest pgstream.epochs;
  last_id bigint;
  visible pg_snapshot;
  top_id bigint;
begin
  if pg_current_xact_id_if_assigned() is not null then
    raise sqlstate 'PS007' using message = 'tick() must be the first statement of its transaction that writes';
  end if;
  if current_setting('transaction_isolation') <> 'read committed' then
    raise sqlstate 'PS007' using message = 'tick() needs isolation level read committed';
  end if;
  -- One after the other: what one tick sees has ids at most those that the next one counts.
  if not pg_try_advisory_xact_lock(1885827956, 4) then
    return false;
  end if;
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  select * into newest from pgstream.epochs order by number desc limit 1;
  if pgstream.is_this_server(newest) is not true then
    -- A publish that opens the new epoch holds up all others until its transaction ends; whoever ticks ends at once. Only
    -- the opening: it needs an xid, and a tick's comes after its snapshot. Not in the middle of a restore, which sets the
    -- sequence back after we have moved it: rights come last there.
    if (select n.nspacl is not null from pg_namespace n where n.nspname = 'pgstream') and pg_try_advisory_xact_lock(1885827956, 2) then
      begin
        perform pgstream.open_epoch();
      exception when sqlstate 'PS008' then
        null; -- the next round attaches the segment that it needs
      end;
    end if;
    return false;
  end if;
  -- In this order, each its own statement: last_id, the snapshot, then the xid and top_id.
  last_id := pgstream.last_id();
  if last_id <= coalesce((select t.last_id from pgstream.ticks t where t.epoch = newest.number order by t.xid desc limit 1),
                         newest.first_id - 1) then
    return false;
  end if;
  visible := pg_current_snapshot();
  select s.last_value into top_id from pgstream.event_ids s;
  insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
    values (newest.number, pg_current_xact_id(), visible, last_id, top_id, clock_timestamp());
  -- After a restart publish() asks for the server's identity, until it is written down here what else to know it by. A later
  -- tick does it when somebody holds the row: nobody waits for a tick.
  update pgstream.settings s set server_started_at = pg_postmaster_start_time(),
    epochs_path = pg_relation_filepath('pgstream.epochs'), events_oid = 'pgstream.events'::regclass
    where s.only_row = (select l.only_row from pgstream.settings l where not pgstream.is_known_server(l) for no key update skip locked);
  return true;
end $$;

-- The segment that the next id falls into.
create function pgstream.current_segment() returns integer
language sql set search_path = pg_catalog, pg_temp as $$
  select ((last_value + is_called::integer) >> 32)::integer from pgstream.event_ids
$$;

-- Whether everybody who may have begun to look up the partitions of events before this call has ended: who looks them up has a
-- lock on events, and keeps it to the end of its transaction. Waits for them, but not for long. A prepared transaction looks
-- nothing up any more: it has no pid.
create function pgstream.outlast_lookers() returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  patience_ends timestamptz := clock_timestamp() + interval '50 ms';
  lookers text[];
begin
  loop
    select array_agg(l.virtualtransaction) into lookers
      from pg_locks l
      where l.database = (select d.oid from pg_database d where d.datname = current_database())
        and l.relation = 'pgstream.events'::regclass and l.granted and l.pid <> pg_backend_pid()
        and (lookers is null or l.virtualtransaction = any (lookers));
    if lookers is null or clock_timestamp() > patience_ends then
      return lookers is null;
    end if;
    perform pg_sleep(0.002);
  end loop;
end $$;

-- Attaches what must be there in advance: the segment after the current one, and the next epoch's first, 2^14 segments ahead
-- however far the log rolls meanwhile. Answers how many it attached. Never waits long for a lock: everybody who publishes would wait behind it.
--
-- A backend that was looking up the partitions of events just while one was attached can go on without it, for as long as
-- nothing changes about events: it then finds no partition for the ids of that segment, and a reader no events. (20 publishers,
-- a roll every 100 ms: 10 to 30 refused in 20 s.) So what an earlier transaction attached is settled, once nobody is left who was
-- looking, by a change that changes nothing but makes everybody look again. ONLY: the segments themselves need no
-- lock for it. Nobody looks for a minute: an open transaction that only keeps its lock does not stop the log from rolling.
create function pgstream.prepare_segments() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  nobody_looks boolean;
  current integer;
  number integer;
  attached integer := 0;
begin
  perform pg_advisory_xact_lock(1885827956, 3);
  if exists (select from pgstream.segments where settled_at is null and attached_at < now()) then
    nobody_looks := pgstream.outlast_lookers();
    update pgstream.segments set settled_at = clock_timestamp()
      where settled_at is null and attached_at < now() and (nobody_looks or attached_at < now() - interval '1 minute');
    if found then
      alter table only pgstream.events alter column key set statistics -1;
    end if;
  end if;
  current := pgstream.current_segment();
  for number in
    select distinct n from unnest(array[current, current + 1, (current / 16384 + 2) * 16384]) n
    except select segment from pgstream.segments order by 1
  loop
    perform pgstream.attach_segment(number);
    attached := attached + 1;
  end loop;
  -- The log runs on into a segment by itself, and a roll that is killed leaves the sequence in it. Not one that an opening of an epoch
  -- has reached and not kept: that one is still to be opened.
  update pgstream.segments set opened_at = clock_timestamp()
    where segment = current and opened_at is null and pgstream.is_newest_server();
  return attached;
end $$;

-- Moves on to the next segment when the current one is old or large enough; answers whether it did. The next one must
-- have been attached and settled by earlier, committed transactions: together they would fail everybody until the commit.
create function pgstream.roll_segment(age_max interval, bytes_max bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  current integer;
  first_id bigint;
begin
  perform pg_advisory_xact_lock(1885827956, 3);
  current := pgstream.current_segment();
  first_id := (current + 1)::bigint << 32;
  if (select last_value < current::bigint << 32 or not is_called from pgstream.event_ids) then
    return false; -- still empty
  end if;
  if ((select coalesce(opened_at, attached_at) <= now() - age_max from pgstream.segments where segment = current)
      or pg_total_relation_size(format('pgstream.events_%s', current)) >= bytes_max) is not true then
    return false;
  end if;
  if not exists (select from pgstream.segments where segment = current + 1 and settled_at < now()) then
    return false;
  end if;
  -- So near its end it moves on by itself: ids drawn between the two statements below would be handed out again.
  if (select last_value >= first_id - (1 << 24) from pgstream.event_ids) then
    return false;
  end if;
  update pgstream.segments set opened_at = clock_timestamp() where segment = current + 1;
  -- Only forward: a second roller must not hand out ids again.
  if (select last_value from pgstream.event_ids) < first_id then
    perform setval('pgstream.event_ids', first_id - 1, true);
  end if;
  return true;
end $$;
