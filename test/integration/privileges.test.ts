//! Least privilege, by trying: every role does everything to everything in schema pgstream, and gets 42501 for all that
//! access.ts does not say. The migrator's user owns the database and is no superuser, as on a managed service.

import { afterAll, beforeAll, expect, test } from "bun:test";

import type postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { type Access, access, type Group } from "../../src/adapters/postgres/migrate/access.ts";
import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import {
  asUser,
  caught,
  connect,
  createOwnedDatabase,
  migrateAs,
  type OwnedDatabase,
  recordingLogger,
} from "../support/migrator.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";

interface Relation {
  readonly name: string;
  readonly kind: "table" | "sequence";
  /** One that an UPDATE may name, null when the table has none. */
  readonly column: string | null;
}
interface Routine {
  readonly name: string;
  readonly signature: string;
  /** `null::type` for each argument. */
  readonly call: string;
}
interface Attempt {
  readonly object: string;
  readonly verb: string;
  readonly sql: string;
  readonly isAllowed: boolean;
}

const password = "secret";
const actors: readonly { readonly login: string; readonly group: Group | null }[] = [
  { login: "producer", group: "pgstream_producer" },
  { login: "consumer", group: "pgstream_consumer" },
  { login: "purger", group: "pgstream_purger" },
  { login: "stranger", group: null },
];
const nothing: Access = { select: [], execute: [] };

const relationsOf = async (sql: postgres.Sql): Promise<readonly Relation[]> =>
  await sql<Relation[]>`
    select c.relname::text as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind,
      (select quote_ident(attname) from pg_attribute where attrelid = c.oid and attnum > 0 limit 1) as column
    from pg_class c where c.relnamespace = 'pgstream'::regnamespace and c.relkind not in ('i', 'I') order by 1`;

const routinesOf = async (sql: postgres.Sql): Promise<readonly Routine[]> =>
  await sql<Routine[]>`
    select proname::text as name, oid::regprocedure::text as signature,
      format('pgstream.%I(%s)', proname, (
        select string_agg(format('null::%s', format_type(t.type, null)), ', ' order by t.n)
        from unnest(proargtypes::oid[]) with ordinality t(type, n))) as call
    from pg_proc where pronamespace = 'pgstream'::regnamespace order by 2`;

const tableAttempts = ({ name, column }: Relation, { select }: Access): readonly Attempt[] => {
  const object = `pgstream.${name}`;
  const forbidden = {
    insert: `insert into ${object} default values`,
    delete: `delete from ${object}`,
    truncate: `truncate ${object} cascade`,
    lock: `lock table ${object} in access exclusive mode`,
    alter: `alter table ${object} add column extra integer`,
    drop: `drop table ${object} cascade`,
    trigger: `create trigger it before insert on ${object} for each row execute function suppress_redundant_updates_trigger()`,
    ...(column === null ? {} : { update: `update ${object} set ${column} = default` }),
  };
  return [
    { object, verb: "select", sql: `select from ${object} limit 1`, isAllowed: select.includes(name) },
    ...Object.entries(forbidden).map(([verb, sql]) => ({ object, verb, sql, isAllowed: false })),
  ];
};

const sequenceAttempts = ({ name }: Relation, { select }: Access): readonly Attempt[] => {
  const object = `pgstream.${name}`;
  return [
    { object, verb: "select", sql: `select last_value from ${object}`, isAllowed: select.includes(name) },
    { object, verb: "nextval", sql: `select nextval('${object}')`, isAllowed: false },
    { object, verb: "setval", sql: `select setval('${object}', 1000)`, isAllowed: false },
    { object, verb: "drop", sql: `drop sequence ${object} cascade`, isAllowed: false },
  ];
};

const routineAttempts = ({ name, signature, call }: Routine, { execute }: Access): readonly Attempt[] => [
  { object: signature, verb: "execute", sql: `select * from ${call}`, isAllowed: execute.includes(name) },
  { object: signature, verb: "drop", sql: `drop routine ${signature} cascade`, isAllowed: false },
  {
    object: signature,
    verb: "alter",
    sql: `alter routine ${signature} set search_path = public`,
    isAllowed: false,
  },
];

const schemaAttempts: readonly Attempt[] = [
  ["create table", "create table pgstream.mine ()"],
  ["create function", "create function pgstream.mine() returns integer language sql as 'select 1'"],
  ["drop", "drop schema pgstream cascade"],
].map(([verb = "", sql = ""]) => ({ object: "pgstream", verb, sql, isAllowed: false }));

/** The SQLSTATE of the attempt, "" when it succeeded. Whatever it did is undone. */
const attempt = async (sql: postgres.Sql, statement: string): Promise<string> => {
  try {
    await sql.unsafe(`begin; ${statement}; rollback`).simple();
    return "";
  } catch (error) {
    await sql.unsafe("rollback");
    return sqlstateOf(error) ?? String(error);
  }
};

describeOnPostgres([15, 18], "privileges", (version) => {
  let server: PostgresServer;
  let database: OwnedDatabase;
  const as = (login: string) => connect(asUser(database.url, login, password));

  beforeAll(async () => {
    server = await startOwnServer({ version });
    database = await createOwnedDatabase(server);
    await migrateAs(database.url, {
      logins: (["producer", "consumer", "purger"] as const).map((name) => ({
        name,
        group: `pgstream_${name}` as const,
        password,
      })),
    });
    await using admin = connect(database.adminUrl);
    await admin.unsafe(`create role stranger login password '${password}'`);
    // An event, so that SELECT has something to find, and a partition that holds it.
    await admin`select pgstream.publish('courses', '{"n": 1}')`;
  }, 60_000);
  afterAll(async () => await server.close());

  for (const { login, group } of actors) {
    test(`${login} may do what the table says, and gets 42501 for everything else`, async () => {
      await using owner = connect(database.url);
      await using sql = as(login);
      const own = group === null ? nothing : access[group];
      const attempts = [
        ...schemaAttempts,
        ...(await relationsOf(owner)).flatMap((it) =>
          it.kind === "table" ? tableAttempts(it, own) : sequenceAttempts(it, own),
        ),
        ...(await routinesOf(owner)).flatMap((it) => routineAttempts(it, own)),
      ];
      expect(attempts.length).toBeGreaterThan(150);
      const wrong: string[] = [];
      for (const it of attempts) {
        const state = await attempt(sql, it.sql);
        if ((state === "42501") === it.isAllowed || /^42(?!501)/.test(state)) {
          wrong.push(`${it.verb} ${it.object}: ${state}`);
        }
      }
      expect(wrong).toEqual([]);
      const allowed = attempts.filter(({ isAllowed }) => isAllowed).length;
      expect(allowed).toBeGreaterThanOrEqual(own.select.length + own.execute.length);
    }, 30_000);
  }

  test("each role does its work with what it has", async () => {
    await using producer = as("producer");
    await producer`select pgstream.publish('courses', '{"n": 2}')`;
    await producer`select pgstream.publish_batch('courses', '{"n": 3}')`;
    await producer`select pgstream.tick()`;
    await using consumer = as("consumer");
    const rows = await consumer`select id from pgstream.events where id > 0 order by id`;
    expect(rows.length).toBeGreaterThanOrEqual(3);
    await using purger = as("purger");
    await purger`select pgstream.prepare_segments()`;
    await purger`select pgstream.tick()`;
    await purger`select * from pgstream.expired_segments('1 day')`;
  });

  test("everybody may execute nothing, and all that is new stays so", async () => {
    await using owner = connect(database.url);
    await owner`create function pgstream.later() returns integer language sql as 'select 1'`;
    try {
      await migrateAs(database.url);
      const rows = await owner`
        select p.oid::regprocedure::text as routine from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where p.pronamespace = 'pgstream'::regnamespace and a.grantee = 0`;
      expect([...rows]).toEqual([]);
    } finally {
      await owner`drop function pgstream.later()`;
    }
  });

  test("a right given by hand is taken back at the next start", async () => {
    await using owner = connect(database.url);
    await owner`grant select, delete on pgstream.events to pgstream_producer`;
    await owner`grant usage on schema pgstream to public`;
    await migrateAs(database.url);
    await using producer = as("producer");
    expect(await attempt(producer, "select from pgstream.events")).toBe("42501");
    await using stranger = as("stranger");
    expect(await attempt(stranger, "select pgstream.tick()")).toBe("42501");
  });

  test("a new segment is the owner's alone, whatever the database's default privileges give", async () => {
    await using owner = connect(database.url);
    await owner.unsafe(`
      alter default privileges grant select, insert on tables to public;
      alter default privileges in schema pgstream grant all on tables to producer`);
    await using purger = as("purger");
    await purger`select pgstream.prepare_segments()`;
    await purger`select pgstream.roll_segment('0', 0)`;
    expect([...(await purger`select pgstream.prepare_segments() as attached`)]).toEqual([{ attached: 1 }]);
    await owner.unsafe(`
      alter default privileges revoke select, insert on tables from public;
      alter default privileges in schema pgstream revoke all on tables from producer`);
    const held = await owner`
      select c.relname, a.grantee, a.privilege_type from pg_class c, aclexplode(c.relacl) a
      where c.oid = 'pgstream.events_2'::regclass and a.grantee <> c.relowner`;
    expect([...held]).toEqual([]);
    await using producer = as("producer");
    expect(await attempt(producer, "select from pgstream.events_2")).toBe("42501");
  });

  test("so is one on a column, one that may be passed on, and what was passed on", async () => {
    await using owner = connect(database.url);
    await using admin = connect(database.adminUrl);
    const privileges = async () => [
      ...(await owner`
        select (select json_agg(nspacl::text) from pg_namespace where nspname = 'pgstream') as schema,
          (select json_agg(relacl::text order by oid) from pg_class where relnamespace = 'pgstream'::regnamespace) as relations,
          (select json_agg(proacl::text order by oid) from pg_proc where pronamespace = 'pgstream'::regnamespace) as routines,
          (select json_agg(attacl::text) from pg_attribute
           where attrelid = 'pgstream.events'::regclass and attacl <> '{}') as columns`),
    ];
    const before = await privileges();
    await owner.unsafe(`
      grant select (data), update (data) on pgstream.events to pgstream_producer;
      grant select (data) on pgstream.events to pgstream_consumer with grant option;
      grant select on pgstream.events to pgstream_consumer with grant option;
      grant execute on function pgstream.tick() to pgstream_producer with grant option`);
    // Passed on: by one of the groups, and to one by a login of its own.
    await admin.unsafe(`
      set role pgstream_consumer;
      grant select on pgstream.events to pgstream_purger, stranger;
      grant select (data) on pgstream.events to public;
      set role pgstream_producer;
      grant execute on function pgstream.tick() to stranger;
      reset role;
      create role "a helper";
      grant usage on schema pgstream to "a helper";
      grant select on pgstream.topics to "a helper" with grant option;
      set role "a helper";
      grant select on pgstream.topics to pgstream_producer;
      reset role`);
    await migrateAs(database.url);
    await admin.unsafe(`drop owned by "a helper"; drop role "a helper"`);
    expect(await privileges()).toEqual(before);
    const { logger, lines } = recordingLogger();
    await migrateAs(database.url, { logger });
    expect(lines).toEqual([]);
    await using producer = as("producer");
    expect(await attempt(producer, "select data from pgstream.events")).toBe("42501");
    expect(await attempt(producer, "select from pgstream.topics")).toBe("42501");
  });

  test("and so is one in Turkish, which has another lower case for INSERT", async () => {
    await using admin = connect(server.url());
    await admin.unsafe(
      "create database turkish template template0 encoding utf8 locale_provider icu icu_locale 'tr-TR' locale 'C'",
    );
    const url = server.url("turkish");
    await migrateAs(url);
    await using owner = connect(url);
    await owner`grant insert on pgstream.events to pgstream_producer`;
    await migrateAs(url);
    const [row] =
      await owner`select has_table_privilege('pgstream_producer', 'pgstream.events', 'insert') as granted`;
    expect(row).toEqual({ granted: false });
  });

  test("every function looks names up in pg_catalog first and in pg_temp last", async () => {
    await using owner = connect(database.url);
    const rows = await owner`
      select oid::regprocedure::text as routine from pg_proc
      where pronamespace = 'pgstream'::regnamespace
        -- What is given as \`return\` is bound when it is made, and looks nothing up.
        and prosqlbody is null
        and not coalesce('search_path=pg_catalog, pg_temp' = any(proconfig), false)`;
    expect([...rows]).toEqual([]);
  });

  test("objects of the same names in the caller's way are not used by functions that run as the owner", async () => {
    await using admin = connect(database.adminUrl);
    await admin.unsafe(
      "grant create on schema public to producer; grant temporary on database " +
        database.name +
        " to producer",
    );
    await using producer = as("producer");
    await producer.unsafe(`
      create table public.trapped (by name default current_user);
      create function public.trap() returns integer language sql as
        'insert into public.trapped default values returning 1';
      create function public.now() returns timestamptz language sql as 'select public.trap(); select pg_catalog.now()';
      create function public.pg_current_xact_id() returns xid8 language sql as
        'select public.trap(); select pg_catalog.pg_current_xact_id()';
      create function public.text_is(text, text) returns boolean language sql as
        'select public.trap(); select $1 operator(pg_catalog.=) $2';
      create operator public.= (leftarg = text, rightarg = text, function = public.text_is);
      create function public.string_to_array(text, text) returns text[] language sql as
        'select public.trap(); select pg_catalog.string_to_array($1, $2)';
      grant all on public.trapped to public;
      create temporary table events (id bigint);
      create temporary table topics (id integer, name text);
      create temporary table settings (create_topics boolean);
      set search_path = public, pg_temp, pg_catalog`);
    const published = await producer<{ id: string }[]>`select pgstream.publish('attacked', '{}')::text as id`;
    await producer`select pgstream.tick()`;
    await producer.unsafe("set search_path = pg_catalog");
    // What the caller's own statements call is the caller's affair; what ran as the owner is not.
    const byOthers = await admin`select by from public.trapped where by <> 'producer'`;
    expect([...byOthers]).toEqual([]);
    expect((await producer`select count(*)::integer as n from pg_temp.events`)[0]).toEqual({ n: 0 });
    const found = await admin`
      select e.id::text as id from pgstream.events e join pgstream.topics t on t.id = e.topic_id where t.name = 'attacked'`;
    expect([...found]).toEqual([...published]);
    await producer.unsafe(`
      drop operator public.= (text, text); drop function public.text_is, public.string_to_array, public.now, public.pg_current_xact_id, public.trap;
      drop table public.trapped`);
  });

  test("a stranger who takes every lock of ours holds up what keeps the log, and neither publishing nor reading", async () => {
    await using stranger = as("stranger");
    await stranger`select pg_advisory_lock(1885827956, n) from generate_series(1, 5) n`;
    await using producer = as("producer");
    const published = await producer<{ id: string }[]>`select pgstream.publish('courses', '{}')::text as id`;
    await using consumer = as("consumer");
    const [newest] =
      await consumer`select id::text as id from pgstream.events order by events.id desc limit 1`;
    expect([newest]).toEqual([...published]);
    await using purger = as("purger");
    expect(await attempt(purger, "select pgstream.prepare_segments()")).toBe("55P03");
    const tick = async () => (await purger`select pgstream.tick() as ticked`)[0];
    expect(await tick()).toEqual({ ticked: false });
    await stranger`select pg_advisory_unlock_all()`;
    expect(await tick()).toEqual({ ticked: true });
  });

  test("nobody gets more by calling a function of the owner's with a hostile value", async () => {
    await using producer = as("producer");
    const hostile = `x'; drop table pgstream.events; --`;
    expect(sqlstateOf(await caught(producer`select pgstream.publish(${hostile}, '{}')`))).toBe("PS002");
    await producer`select pgstream.publish('courses', '{}', ${hostile}, ${hostile}, ${JSON.stringify({ a: hostile })}::text::json, ${hostile})`;
    await using consumer = as("consumer");
    const rows = await consumer`select key, type from pgstream.events where key = ${hostile}`;
    expect([...rows]).toEqual([{ key: hostile, type: hostile }]);
  });
});
