//! No statement of ours is so expensive in the planner's eyes that PostgreSQL compiles it first, which takes 100 ms.
//! Before PostgreSQL 18 a scan that is turned off and has no other way counts as 10 billion. And names and keys are found by index.

import { beforeAll, afterAll, expect, test } from "bun:test";

import postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import type { PostgresClient, Sql } from "../../src/adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../../src/adapters/postgres/read/live-log.ts";
import { makeLog, readingSession } from "../../src/adapters/postgres/read/log.ts";
import { startCursor } from "../../src/core/read/start.ts";
import { migrate } from "../support/log-database.ts";
import { connect } from "../support/migrator.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";

/** As is: every way of planning has to be seen. */
const callsPerStatement = 7;

interface ExplainedSession extends AsyncDisposable {
  readonly sql: Sql;
  /** The plans since the last call, those of statements inside functions included. */
  readonly plans: () => readonly string[];
}

const openExplained = async (
  url: string,
  session: Readonly<Record<string, string>>,
): Promise<ExplainedSession> => {
  const notes: string[] = [];
  const sql = postgres(url, {
    max: 1,
    fetch_types: false,
    types: { bigint: postgres.BigInt },
    connection: session,
    onnotice: ({ message }) => void notes.push(message ?? ""),
  });
  await sql.unsafe(`
    load 'auto_explain';
    set auto_explain.log_min_duration = 0;
    set auto_explain.log_analyze = on;
    set auto_explain.log_nested_statements = on;
    set client_min_messages = log`);
  return {
    sql,
    plans: () => notes.splice(0),
    [Symbol.asyncDispose]: async () => await sql.end({ timeout: 1 }),
  };
};

const statements: Readonly<Record<string, string>> = {
  "an event": `select pgstream.publish('t', '{}')`,
  "an event on a new topic": `select pgstream.publish('t' || (random() * 1e9)::bigint, '{}')`,
  "an event with headers": `select pgstream.publish('t', '{}', headers => '{"a": "b"}')`,
  "an event with an idempotency key": `select pgstream.publish('t', '{}', idempotency_key => 'k' || (random() * 1e9)::bigint)`,
  "an event again": `select pgstream.publish('t', '{}', idempotency_key => 'same')`,
  "a batch again": `
    select pgstream.publish_batch('t', '{}', publisher => '00000000-0000-4000-8000-000000000000', batch => 1)`,
  "a tick": `select pgstream.tick()`,
  "segments to come": `select pgstream.prepare_segments()`,
};

describeOnPostgres([15], "what is planned to cost much", (version) => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startOwnServer({ version, settings: { jit: "on" } });
    await migrate(server.url());
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test.each(Object.entries(statements))("publishing side: %s is not", async (_, statement) => {
    await using session = await openExplained(server.url(), {});
    for (let n = 0; n < callsPerStatement; n += 1) await session.sql.unsafe(statement);
    const plans = session.plans();
    expect(plans.length).toBeGreaterThan(callsPerStatement);
    expect(plans.filter((plan) => /JIT:|cost=\d{9}/.test(plan))).toEqual([]);
  });

  test("reading side: nothing is compiled, whatever it costs", async () => {
    await using alone = await openExplained(server.url(), readingSession);
    await using live = await openExplained(server.url(), liveSession);
    for (const { sql } of [alone, live]) await sql`set jit_above_cost = 0`;
    const clientOf = ({ sql }: ExplainedSession): PostgresClient => ({
      run: async (statement) => await statement(sql),
      renew: () => {},
      end: async () => {},
      [Symbol.asyncDispose]: async () => {},
    });
    const log = makeLog(clientOf(alone));
    const { newest: epoch } = await log.epoch();
    const { seen: since } = await startCursor(log, epoch, { kind: "earliest" });
    const request = { since, epoch, topicsSince: since, topicIds: null, eventsMax: 100, bytesMax: 2 ** 20 };
    const bounds = { mainBound: epoch.firstId - 1n, lateBound: epoch.firstId - 1n };
    const tail = makeLiveLog(clientOf(live));
    for (let n = 0; n < callsPerStatement; n += 1) {
      const look = await log.look({ ...request, bound: 0n, expectsTick: n % 2 === 0 });
      const page = {
        ...request,
        ...bounds,
        until: look.current,
        after: bounds.mainBound,
        late: [],
        top: null,
      };
      await log.firstPage(page);
      await log.nextPage(page, await log.windowEnd(page));
      await log.purgedTopics(epoch, 0n, null);
      const { page: read } = await tail.read({ ...request, ...bounds, identify: n % 2 === 0 });
      expect(read.rows.length).toBeGreaterThan(0);
    }
    const plans = [...alone.plans(), ...live.plans()];
    expect(plans.length).toBeGreaterThan(callsPerStatement);
    expect(plans.filter((plan) => plan.includes("JIT:"))).toEqual([]);
  });
});

describeOnPostgres([15, 18], "a database that sorts by a language", (version) => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startOwnServer({ version });
    await using admin = connect(server.url());
    await admin.unsafe("create database sorted template template0 locale_provider icu icu_locale 'de'");
    await migrate(server.url("sorted"));
  });
  afterAll(async () => await server.close());

  test("has no index of ours in an order that may change with the system's libraries", async () => {
    await using sql = connect(server.url("sorted"));
    const indexes = await sql`
      select distinct i.indexrelid::regclass::text as index, c.collname::text as collation
      from pg_index i, unnest(i.indcollation::oid[]) o join pg_collation c on c.oid = o
      where i.indrelid in (select oid from pg_class where relnamespace = 'pgstream'::regnamespace) order by 1`;
    expect([...indexes]).toEqual([
      { index: "pgstream.idempotency_keys_pkey", collation: "C" },
      { index: "pgstream.topics_name_key", collation: "C" },
    ]);
  });

  test("finds names and keys by index all the same", async () => {
    await using session = await openExplained(server.url("sorted"), {});
    await session.sql`insert into pgstream.topics (name) select 't.' || n from generate_series(1, 5000) n`;
    await session.sql`
      insert into pgstream.idempotency_keys (topic_id, key, digest)
      select 1, 'k' || n, '' from generate_series(1, 5000) n`;
    await session.sql`analyze pgstream.topics, pgstream.idempotency_keys`;
    session.plans();
    for (let n = 0; n < callsPerStatement; n += 1)
      await session.sql`select pgstream.publish(${`new.${n}`}, '{}', idempotency_key => 'k')`;
    const plans = session.plans().join("\n");
    expect(plans).toContain("using topics_name_key");
    expect(plans).toContain("using idempotency_keys_pkey");
    expect(plans).not.toMatch(/Seq Scan on (?:topics|idempotency_keys)/);
  });
});
