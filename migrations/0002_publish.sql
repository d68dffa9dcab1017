-- Publishing: the only way into the log.
--
-- Errors raised for the caller have SQLSTATEs of class PS; src/adapters/postgres/sqlstate.ts gives them their names.

-- Opens a new epoch when the server is not the one of the newest row any more: a promoted standby, a restored dump, a
-- recreated database. Ids jump to a multiple of 2^46, over 2^14 segments at least, so that what a lost primary handed out stays
-- unused though this server has never heard of it: moving on once a minute, that one gets there in eleven days.
create function pgstream.open_epoch() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  server record;
  newest pgstream.epochs;
  next_id bigint;
  target integer;
  now_visible pg_snapshot;
  own xid8;
begin
  perform pg_advisory_xact_lock(1885827956, 2);
  select * into server from pgstream.server_identity();
  select * into newest from pgstream.epochs order by number desc limit 1;
  if pgstream.is_this_server(newest) then
    return; -- somebody else was faster
  end if;
  select last_value + is_called::integer into next_id from pgstream.event_ids;
  -- A jump is not undone when its transaction rolls back: then no other segment may be there than the one it reached, which is still
  -- unopened, and right.
  select s.segment into target from pgstream.segments s
    where s.segment % 16384 = 0 and s.opened_at is null
      and (s.segment >= (next_id >> 32) + 16384 or s.segment = next_id >> 32)
    order by s.settled_at is null, s.segment = next_id >> 32, s.segment limit 1;
  if target is null then
    raise sqlstate 'PS008' using message = 'no segment is attached for a new epoch: run the purger or the migrator once';
  end if;
  now_visible := pg_current_snapshot();
  own := pg_current_xact_id();
  insert into pgstream.epochs
    (number, system_identifier, timeline, database_oid, events_oid, first_id, snapshot, carried)
  values
    (newest.number + 1, server.system_identifier, server.timeline, server.database_oid, server.events_oid,
     target::bigint << 32, pgstream.snapshot_below(now_visible, own), pgstream.prepared_xids())
  on conflict (number) do nothing;
  if not found then
    raise serialization_failure using message =
      'an epoch was opened after this transaction took its snapshot: repeat the transaction';
  end if;
  update pgstream.segments set opened_at = clock_timestamp() where segment = target;
  if next_id < target::bigint << 32 then
    perform setval('pgstream.event_ids', target::bigint << 32, false);
  end if;
  -- Cursors remember the number of the last purge that they were told of, which an earlier server may have given and lost.
  perform setval(pg_get_serial_sequence('pgstream.purges', 'id'),
    greatest((select max(p.id) from pgstream.purges p), (newest.number + 1)::bigint << 32));
end $$;

-- The snapshot with everything from `bound` on taken as not yet seen.
create function pgstream.snapshot_below(snapshot pg_snapshot, bound xid8) returns pg_snapshot
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case when pg_snapshot_xmax(snapshot) <= bound then snapshot else (
    select format('%s:%s:%s', coalesce((array_agg(x order by x))[1], bound), bound, string_agg(x::text, ',' order by x))
    from pg_snapshot_xip(snapshot) x where x < bound
  )::pg_snapshot end
$$;

-- Prepared transactions that hold a lock on the log, as xid8. Locks know 32 bits of an xid; the rest is the latest
-- number that is not in the future.
create function pgstream.prepared_xids() returns xid8[]
language sql set search_path = pg_catalog, pg_temp as $$
  with latest as (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xid),
  prepared as (
    select distinct p.transaction::text::bigint as low
    from pg_prepared_xacts p
    join pg_locks l on l.virtualtransaction = '-1/' || p.transaction::text
    join pg_class c on c.oid = l.relation and c.relnamespace = 'pgstream'::regnamespace
    where p.database = current_database()
  ),
  full_xids as (
    select (xid >> 32 << 32) + low - case when (xid >> 32 << 32) + low > xid then 1::bigint << 32 else 0 end as full_xid
    from prepared, latest
  )
  select coalesce(array_agg(full_xid::text::xid8 order by full_xid), '{}') from full_xids
$$;

-- Takes hold of idempotency keys, waiting for whoever holds one in an open transaction. Answers per event: null, it
-- is new and to be published; positive, the id it was published under; negative, -n: the same as the n-th of this call.
create function pgstream.claim_idempotency_keys(topic_ids integer[], keys text[], digests bytea[]) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
declare
  answers bigint[];
  conflicting text;
  missing bigint;
begin
  loop
    -- In the order of the primary key, so that two batches with the same keys never wait for each other in a circle.
    insert into pgstream.idempotency_keys (topic_id, key, digest)
      select distinct on (c.topic_id, c.key collate "C") c.topic_id, c.key, c.digest
      from unnest(topic_ids, keys, digests) with ordinality c(topic_id, key, digest, n)
      where c.key is not null
      order by c.topic_id, c.key collate "C", c.n
    on conflict do nothing;
    select
      min(c.key) filter (where c.digest <> k.digest),
      count(*) filter (where c.key is not null and k.key is null),
      array_agg(case
        when k.event_id is not null then k.event_id
        when k.key is not null and c.n > c.first_n then -c.first_n
      end order by c.n)
    into conflicting, missing, answers
    from (
      select u.*, min(u.n) over (partition by u.topic_id, u.key) as first_n
      from unnest(topic_ids, keys, digests) with ordinality u(topic_id, key, digest, n)
    ) c
    -- In a transaction with an older snapshot a key that was forgotten meanwhile is still seen, beside the one just claimed.
    left join lateral (
      select * from pgstream.idempotency_keys k where k.topic_id = c.topic_id and k.key = c.key order by k.at desc limit 1
    ) k on true;
    exit when missing = 0; -- else one expired between the two statements
  end loop;
  if conflicting is not null then
    raise sqlstate 'PS005' using
      message = format('idempotency key %s was used with other content', quote_literal(left(conflicting, 80)));
  end if;
  return answers;
end $$;

-- Says under which ids the keys were published.
create function pgstream.settle_idempotency_keys(ids bigint[], topic_ids integer[], keys text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
begin
  update pgstream.idempotency_keys k set event_id = e.id
    from unnest(ids, topic_ids, keys) e(id, topic_id, key)
    where k.topic_id = e.topic_id and k.key = e.key and e.id is not null;
end $$;

-- Makes the topics that do not exist yet, if that is allowed. The ids of all of them, in the order given.
create function pgstream.make_topics(names text[]) returns integer[]
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
declare
  unknown text[];
  wrong text;
  ids integer[];
begin
  unknown := array(select name from unnest(names) name except select t.name from pgstream.topics t where t.name = any(names));
  select name into wrong from unnest(unknown) name
    where length(name) > 249 or name !~ '^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$' limit 1;
  if found then
    raise sqlstate 'PS002' using message = format('topic %s is not a name: use letters, digits, "_" and "-", with dots '
      'between tokens, at most 249 characters', quote_literal(left(wrong, 80)));
  end if;
  if cardinality(unknown) > 0 and not (select s.create_topics from pgstream.settings s where s.only_row) then
    raise sqlstate 'PS003' using message = format('topic %s does not exist, and topics are not created on publishing: '
      'insert it into pgstream.topics or turn CREATE_TOPICS on', quote_literal(unknown[1]));
  end if;
  insert into pgstream.topics (name) select name from unnest(unknown) name order by name on conflict do nothing;
  ids := array(
    select t.id from unnest(names) with ordinality n(name, place) left join pgstream.topics t on t.name = n.name
    order by n.place);
  if array_position(ids, null) is not null then
    raise serialization_failure using message =
      'a topic was created after this transaction took its snapshot: repeat the transaction, or create the topic ahead';
  end if;
  return ids;
end $$;

-- Takes hold of a batch that does not simply follow the publisher's last one. Null: it is to be published now. Else the ids it
-- got the first time, if they can still be told: none of its events has been purged, and nothing else was published in its
-- transaction.
create function pgstream.place_batch(publisher uuid, batch bigint, size integer) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  remembered pgstream.publishers;
  ids bigint[];
  bound bigint;
begin
  if place_batch.batch = 1 then
    insert into pgstream.publishers (id, batch, xid) values (publisher, 1, pg_current_xact_id()) on conflict do nothing;
    if found then
      return null;
    end if;
  end if;
  select * into remembered from pgstream.publishers p where p.id = publisher for update;
  if remembered.batch = place_batch.batch then
    ids := remembered.answer;
    if ids is null then
      -- The bound stands in the text: the planner must see it, or every segment is locked. By the transaction's time, too:
      -- after a restore xids come again, and ticks of another server have small ones behind the ids that are looked for.
      select t.last_id into bound from pgstream.ticks t where t.xid < remembered.xid and t.at <= remembered.at
        order by t.epoch desc, t.xid desc limit 1;
      execute format('select array(select e.id from pgstream.events e where e.id > %s and e.xid = $1 and e.created_at = $2 order by e.id)',
        coalesce(bound, 0)) into ids using remembered.xid, remembered.at;
    end if;
    if cardinality(ids) = size then
      return ids;
    end if;
  end if;
  raise sqlstate 'PS006' using message = format('batch %s of publisher %s cannot be placed: the last one known is %s%s',
    batch, publisher, coalesce(remembered.batch, 0), case when ids is not null then ', and its ids cannot be told any more' end);
end $$;

-- Publishes a batch: one text per column, the values joined by U+001E, which JSON never contains; an empty value is
-- null. Topics that come again and again need not be repeated: `topic_numbers` then says of each event which of them it is
-- on, from 1. With `publisher` and `batch` (1, 2, 3, ...) a repeated batch returns the ids it got the first time: such a batch has
-- a transaction to itself.
-- Returns one id per event, in the order given; the events become visible together or not at all.
--
-- A statement in here costs a small batch some 15 us, hence few of them, and plans that are made once: those for few topics
-- must do for many, so none reads a table through. Where tables are joined, in the functions called, plans are made anew.
create function pgstream.publish_batch(
  topics text,
  data text,
  keys text default null,
  types text default null,
  headers text default null,
  idempotency_keys text default null,
  publisher uuid default null,
  batch bigint default null,
  notify boolean default true,
  topic_numbers integer[] default null
) returns bigint[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  topic_list text[] := string_to_array(topics, E'\x1e');
  data_list text[] := string_to_array(data, E'\x1e');
  key_list text[] := string_to_array(keys, E'\x1e', '');
  type_list text[] := string_to_array(types, E'\x1e', '');
  header_list text[] := string_to_array(headers, E'\x1e', '');
  idempotency_list text[] := string_to_array(idempotency_keys, E'\x1e', '');
  size integer := cardinality(data_list);
  all_names text := replace(concat(topics, keys, types, idempotency_keys), E'\x1e', '');
  bytes_max integer;
  is_same_server boolean;
  topic_ids integer[];
  originals bigint[];
  own xid8;
  ids bigint[];
  answers bigint[];
  refreshed integer;
begin
  if pg_is_in_recovery() then
    raise read_only_sql_transaction using message = 'this server is a standby: publish on the primary';
  end if;

  -- 1. Everything that may wait or look things up. Ids are drawn after it: an id drawn before a wait would be
  --    delivered before the events of whoever was waited for. Whether the batch is a repeat comes first: what was published
  --    is not refused afterwards.
  if publisher is not null then
    update pgstream.publishers p
      set batch = publish_batch.batch, xid = pg_current_xact_id(), answer = null, at = now()
      where p.id = publisher and p.batch = publish_batch.batch - 1;
    if not found then
      ids := pgstream.place_batch(publisher, publish_batch.batch, size);
      if ids is not null then
        return ids;
      end if;
    end if;
  end if;
  select
      s.event_bytes_max,
      pgstream.is_known_server(s),
      array(
        select (select t.id from pgstream.topics t where t.name = n.name)
        from unnest(topic_list) with ordinality n(name, place) order by n.place)
    into bytes_max, is_same_server, topic_ids
    from pgstream.settings s where s.only_row;
  if topic_numbers is null then
    topic_numbers := array(select generate_series(1, cardinality(topic_list)));
  end if;
  -- Looked at closely unless it plainly is in order: so short that no single value can be too long.
  if not coalesce(
    size > 0 and size = all (array[cardinality(topic_numbers), coalesce(nullif(cardinality(key_list), 0), size), coalesce(nullif(cardinality(type_list), 0), size)])
    and 1 <= all (topic_numbers) and cardinality(topic_list) >= all (topic_numbers)
    and headers is null and idempotency_keys is null
    and octet_length(data) <= bytes_max and greatest(octet_length(keys), octet_length(types), 0) <= 1024
    and octet_length(to_json(all_names)::text) = octet_length(all_names) + 2 and strpos(all_names, E'\x7f') = 0, false)
  then
    perform pgstream.check_batch(
      all_names, topic_list, topic_numbers, data_list, key_list, type_list, header_list, idempotency_list,
      case when headers is null and octet_length(data) <= bytes_max then null else bytes_max end);
  end if;
  if is_same_server is not true then
    is_same_server := (select pgstream.is_this_server(e) from pgstream.epochs e order by e.number desc limit 1);
    if is_same_server is not true then
      perform pgstream.open_epoch();
    end if;
  end if;
  if array_position(topic_ids, null) is not null then
    topic_ids := pgstream.make_topics(topic_list);
  end if;
  if idempotency_keys <> '' then
    originals := pgstream.claim_idempotency_keys(array(select topic_ids[n] from unnest(topic_numbers) n), idempotency_list, array(
      select sha256(convert_to(concat_ws(E'\x1e', d, coalesce(k, ''), coalesce(t, ''), h), 'UTF8'))
      from unnest(data_list, key_list, type_list, header_list) with ordinality u(d, k, t, h, n) order by n));
  end if;

  -- 2. The xid before any id: a tick's bound relies on it.
  own := pg_current_xact_id();
  -- 3. All ids.
  if originals is not null then
    ids := array(
      select case when originals[n] is null then nextval('pgstream.event_ids') end from generate_series(1, size) n);
  elsif size = 1 then
    ids := array[nextval('pgstream.event_ids')];
  else
    ids := array(select nextval('pgstream.event_ids') from generate_series(1, size));
  end if;
  -- 4. Take in what happened to the partitions since this transaction began.
  refreshed := pg_relation_is_updatable('pgstream.catalog_refresh', false);
  -- 5. The events.
  insert into pgstream.events (xid, id, created_at, topic_id, key, type, headers, data)
    select own, e.id, now(), topic_ids[e.topic_number], e.key, e.type, e.headers::json, e.data::json
    from (
      select unnest(ids), unnest(topic_numbers), unnest(key_list), unnest(type_list), unnest(header_list), unnest(data_list)
    ) e(id, topic_number, key, type, headers, data)
    where e.id is not null;

  -- What becomes visible must survive a crash.
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  answers := ids;
  if originals is not null then
    answers := array(
      select case when originals[n] < 0 then coalesce(ids[-originals[n]], originals[-originals[n]]) else coalesce(originals[n], ids[n]) end
      from generate_series(1, size) n);
    perform pgstream.settle_idempotency_keys(ids, array(select topic_ids[n] from unnest(topic_numbers) n), idempotency_list);
    update pgstream.publishers p set answer = answers where p.id = publisher;
  end if;
  if notify then
    perform pg_notify('events', case when octet_length(names) <= 7900 then names else '*' end)
      from array_to_string(array(select distinct unnest(topic_list)), ',') names;
  end if;
  return answers;
end $$;

-- Refuses what must not enter, before any id is drawn. `names`: all topics, keys, types and idempotency
-- keys in one text. `bytes_max`: null when no event can be too large.
create function pgstream.check_batch(
  names text, topic_list text[], topic_numbers integer[], data_list text[], key_list text[], type_list text[], header_list text[], idempotency_list text[],
  bytes_max integer
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  size integer := cardinality(topic_numbers);
  bytes integer;
  name_bytes integer;
begin
  if coalesce(size, 0) = 0
     or cardinality(data_list) is distinct from size
     or cardinality(key_list) not in (size, 0)
     or cardinality(type_list) not in (size, 0)
     or cardinality(header_list) not in (size, 0)
     or cardinality(idempotency_list) not in (size, 0)
     or (1 <= all (topic_numbers) and cardinality(topic_list) >= all (topic_numbers)) is not true then
    raise sqlstate 'PS001' using message = 'a batch needs one value per event in every column that is given, and at least one event';
  end if;
  -- Control characters separate values on the wire, and nobody can read them in a log. What JSON has nothing to escape
  -- in has none of them but DEL: that takes half as long as the expression, which is left for what has quotes in it.
  if (octet_length(to_json(names)::text) > octet_length(names) + 2 or strpos(names, E'\x7f') > 0)
     and names ~ E'[\x01-\x1f\x7f]' then
    raise sqlstate 'PS001' using message = 'topic, key, type and idempotency key take no control characters';
  end if;
  -- unnest() among the columns passes its values on; in FROM it would store them all first.
  if octet_length(names) > 1024 then
    select max(greatest(octet_length(k), octet_length(t), octet_length(i))) into name_bytes
      from (select unnest(key_list), unnest(type_list), unnest(idempotency_list)) u(k, t, i);
  end if;
  if name_bytes > 1024
     and exists (select from unnest(key_list || type_list || idempotency_list) value where length(value) > 1024) then
    raise sqlstate 'PS001' using message = 'key, type and idempotency key take at most 1024 characters';
  end if;
  if name_bytes > 2048 and exists (select from unnest(idempotency_list) value where octet_length(value) > 2048) then
    raise sqlstate 'PS001' using message = 'an idempotency key takes at most 2048 bytes: it has to fit into an index';
  end if;
  if bytes_max is not null then
    select max(octet_length(d) + coalesce(octet_length(h), 0)) into bytes
      from (select unnest(data_list), unnest(header_list)) u(d, h);
  end if;
  if bytes > bytes_max then
    raise sqlstate 'PS004' using
      message = format('an event has %s bytes, more than the %s allowed: raise EVENT_BYTES_MAX or publish a reference', bytes, bytes_max);
  end if;
  if cardinality(header_list) > 0 then
    perform pgstream.check_headers(header_list);
  end if;
end $$;

create function pgstream.check_headers(header_list text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- By case, for json_each() takes objects alone.
  if exists (
    select from unnest(header_list) h where case json_typeof(h::json)
      when 'object' then exists (select from json_each(h::json) v where json_typeof(v.value) <> 'string') else h is not null end)
  then
    raise sqlstate 'PS001' using message = 'headers must be a JSON object of names and texts';
  end if;
exception when invalid_text_representation then
  raise sqlstate 'PS001' using message = 'headers are not JSON';
end $$;

-- Publishes one event inside the caller's transaction: the outbox, from any language. Returns its id.
--
-- Not in a statement that locks rows: `select pgstream.publish(...) ... for update` that has to wait is evaluated twice.
create function pgstream.publish(
  topic text,
  data json,
  key text default null,
  type text default null,
  headers json default null,
  idempotency_key text default null,
  notify boolean default true
) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if topic is null or data is null then
    raise sqlstate 'PS001' using message = 'topic and data must not be null';
  end if;
  if '' in (topic, key, type, idempotency_key) then
    raise sqlstate 'PS001' using message = 'topic, key, type and idempotency key must not be empty: leave them out instead';
  end if;
  if concat(topic, key, type, idempotency_key) like E'%\x1e%' then
    raise sqlstate 'PS001' using message = 'topic, key, type and idempotency key take no control characters';
  end if;
  return (pgstream.publish_batch(topic, data::text, key, type, headers::text, idempotency_key, null, null, notify))[1];
end $$;
