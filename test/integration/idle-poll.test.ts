//! What it costs the server when a subscription looks and finds nothing: the same handful of buffers and locks, however
//! much there is of everything.

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { selectFirstPage } from "../../src/adapters/postgres/read/select-events.ts";
import { selectLook } from "../../src/adapters/postgres/read/select-look.ts";
import { makeWeighing } from "../../src/adapters/postgres/read/weighing.ts";
import { type Fragment, prepared } from "../../src/adapters/postgres/statement.ts";
import type { Log, LookRequest, PageRequest } from "../../src/core/log.ts";
import { costOf } from "../support/explain.ts";
import { migrate } from "../support/log-database.ts";
import { connect } from "../support/migrator.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { openReadBench, publish, publishMany, type ReadBench, type Session } from "../support/read-bench.ts";

const runningMax = 300;

/** Puts an event into each of 300 segments. */
const fillSegments = async (session: Session): Promise<void> => {
  await session.unsafe(`
    do $$ begin
      for n in 1..300 loop
        if not exists (select from pgstream.segments where segment = n) then
          perform pgstream.attach_segment(n);
        end if;
        perform setval('pgstream.event_ids', n::bigint << 32, false);
        perform pgstream.publish('t', '{}', notify => false);
      end loop;
    end $$`);
};

const fillTicks = async (session: Session): Promise<void> => {
  await session`set synchronous_commit = off`;
  await session.unsafe(`
    do $$ begin
      for n in 1..5000 loop
        insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
          select 1, pg_current_xact_id(), pg_current_snapshot(), s.last_value, s.last_value, clock_timestamp() from pgstream.event_ids s;
        commit;
      end loop;
    end $$`);
};

/** Calls of a reader that go to the database, in their order. */
const recording = (log: Log) => {
  const looks: LookRequest[] = [];
  const pages: PageRequest[] = [];
  const recorded: Log = {
    ...log,
    look: async (request) => {
      looks.push(request);
      return await log.look(request);
    },
    firstPage: async (request) => {
      pages.push(request);
      return await log.firstPage(request);
    },
  };
  return { log: recorded, looks, pages };
};

/** Relations of ours that the statement locks. */
const locksOf = async ({ client }: ReadBench, request: LookRequest | PageRequest): Promise<number> => {
  await client.run((sql) => sql`begin`);
  const statement: Fragment =
    "until" in request ? selectFirstPage(request, makeWeighing()) : selectLook(request);
  await client.run(prepared(statement));
  const [row] = await client.run(
    (sql) => sql<{ n: number }[]>`
      select count(*)::integer as n from pg_locks l join pg_class c on c.oid = l.relation
      where l.pid = pg_backend_pid() and c.relnamespace = 'pgstream'::regnamespace`,
  );
  await client.run((sql) => sql`commit`);
  return row?.n ?? 0;
};

interface Cost {
  readonly buffers: number;
  readonly locks: number;
}

const costOfLook = async (bench: ReadBench, request: LookRequest): Promise<Cost> => ({
  buffers: (await costOf(bench.client, selectLook(request))).buffers,
  locks: await locksOf(bench, request),
});

const costOfPage = async (bench: ReadBench, request: PageRequest): Promise<Cost> => ({
  buffers: (await costOf(bench.client, selectFirstPage(request, makeWeighing()))).buffers,
  locks: await locksOf(bench, request),
});

const lastOf = <T>(items: readonly T[]): T => {
  const last = items.at(-1);
  if (last === undefined) throw new Error("nothing was asked");
  return last;
};

/** A reader that has read all there is. */
const restingReader = async (bench: ReadBench, stored?: string) => {
  const calls = recording(bench.log);
  // From earliest it would be as good, but first read through all that has been filled in.
  const start = stored === undefined ? { from: { kind: "latest" } as const } : { stored };
  const reader = await bench.reader({ ...start, log: calls.log });
  await reader.read();
  return { ...calls, reader };
};

/** What an idle poll asks, and that it asks nothing else. */
const idleLook = async (bench: ReadBench): Promise<LookRequest> => {
  const { reader, looks, pages } = await restingReader(bench);
  const before = { looks: looks.length, pages: pages.length };
  expect(await reader.read()).toEqual([]);
  expect({ looks: looks.length, pages: pages.length }).toEqual({ ...before, looks: before.looks + 1 });
  return lastOf(looks);
};

/** A tick, and events before and behind it. */
const publishAround = async (session: Session): Promise<void> => {
  await publish(session);
  await session`select pgstream.tick()`;
  await publish(session);
};

const expectSameCost = (cost: Cost, few: Cost): void => {
  expect(few.buffers).toBeLessThan(30);
  expect(cost.buffers).toBeLessThanOrEqual(few.buffers + 8);
  expect(cost.locks).toBeLessThanOrEqual(few.locks);
};

describeOnPostgres([15, 18], "a subscription that looks and finds nothing", (version) => {
  let server: PostgresServer;
  let bench: ReadBench;
  let session: Session;
  let databases = 0;
  beforeAll(async () => {
    // Buffers are counted: nobody is to tidy up meanwhile, nor to make the statistics that a young table lacks.
    const settings = { max_prepared_transactions: runningMax, autovacuum: "off" };
    server = await startOwnServer({ version, settings });
  });
  afterAll(async () => await server.close());

  /** Transactions in another database that stay open: prepared ones need no connection to do so. */
  const openElsewhere = async (): Promise<void> => {
    await using elsewhere = connect(server.url());
    for (let n = 0; n < runningMax; n += 1) {
      await elsewhere.unsafe(`begin; select pg_current_xact_id(); prepare transaction 'running ${n}'`);
    }
  };
  const endElsewhere = async (count: number): Promise<void> => {
    await using elsewhere = connect(server.url());
    const rows = await elsewhere<{ gid: string }[]>`
      select gid from pg_prepared_xacts order by prepared limit ${count}`;
    for (const { gid } of rows) await elsewhere.unsafe(`rollback prepared '${gid}'`);
  };

  beforeEach(async () => {
    databases += 1;
    const name = `idle_${databases}`;
    await using admin = connect(server.url());
    await admin.unsafe(`create database ${name} template template0`);
    await migrate(server.url(name));
    bench = await openReadBench(server.url(name));
    session = bench.session();
    for (let n = 0; n < 10; n += 1) await publish(session);
    await session`select pgstream.tick()`;
  });
  afterEach(async () => {
    await endElsewhere(runningMax);
    await bench[Symbol.asyncDispose]();
  });

  const fillings: Readonly<Record<string, () => Promise<void>>> = {
    "100,000 events": async () => {
      for (let n = 0; n < 2; n += 1) await publishMany(session, 50_000);
    },
    "5,000 ticks": async () => await fillTicks(session),
    "10,000 topics": async () => {
      await session`insert into pgstream.topics (name) select 'n.' || n from generate_series(1, 10000) n`;
    },
    "300 transactions open in another database, and 10,000 topics made meanwhile": async () => {
      await openElsewhere();
      await session`insert into pgstream.topics (name) select 'm.' || n from generate_series(1, 10000) n`;
    },
  };

  for (const [what, fill] of version === 18 ? Object.entries(fillings) : []) {
    test(`pays the same with ${what}`, async () => {
      const few = await costOfLook(bench, await idleLook(bench));
      await fill();
      await publishAround(session);
      expectSameCost(await costOfLook(bench, await idleLook(bench)), few);
    });
  }

  test("pays the same with all of it at once and 300 segments, also when a transaction ends elsewhere", async () => {
    const few = await costOfLook(bench, await idleLook(bench));
    await fillSegments(session);
    for (const fill of Object.values(fillings)) await fill();
    await publishAround(session);
    const look = await idleLook(bench);
    expectSameCost(await costOfLook(bench, look), few);
    const unbound = await costOfLook(bench, { ...look, bound: 0n });
    expect(unbound.buffers).toBeGreaterThan(300);
    expect(unbound.locks).toBeGreaterThan(300);

    const old = await restingReader(bench);
    const young = await restingReader(bench, old.reader.cursor());
    await endElsewhere(1);
    for (const { reader, looks, pages } of [old, young]) {
      pages.length = 0;
      expect(await reader.read()).toEqual([]);
      expect(pages.map((page) => page.late.length)).toEqual([1]);
      expectSameCost(await costOfLook(bench, lastOf(looks)), few);
      expectSameCost(await costOfPage(bench, lastOf(pages)), few);
    }

    await session`analyze`;
    expectSameCost(await costOfLook(bench, lastOf(old.looks)), few);
    expectSameCost(await costOfPage(bench, lastOf(old.pages)), few);
  });
});
