//! Crossing into a new epoch, where PostgreSQL itself matters: epochs.test.ts has what becomes of it after real failovers, and
//! test/unit/core/crossing.test.ts its histories.

import { expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { startLaggingStandby } from "../support/lagging-standby.ts";
import { becomeAnotherServer, openTestClient } from "../support/log-database.ts";
import { connect, migrateAs } from "../support/migrator.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { openReadBench, publish, roll, takeXid } from "../support/read-bench.ts";
import { subscribe } from "../support/subscriber.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";

test("a step is so many events long, whatever holes there are in the ids, and ends with the epoch", async () => {
  await using bench = await openReadBench();
  const session = bench.session();
  const fill = async (): Promise<bigint> => {
    await session`
      insert into pgstream.events (xid, id, created_at, topic_id, data)
      select pg_current_xact_id(), nextval('pgstream.event_ids'), now(), 1, '{}' from generate_series(1, 150000)`;
    return BigInt((await session`select last_value as id from pgstream.event_ids`)[0]?.["id"] as string);
  };
  await fill();
  await roll(session);
  const last = await fill();
  await using client = openTestClient(bench.url);
  const log = makeLog(client);
  const end = await log.stepEnd(0n, 1n << 40n);
  expect(end).toBe(last - 100_000n);
  expect(await log.stepEnd(end ?? 0n, 1n << 40n)).toBe(last);
  expect(await log.stepEnd(end ?? 0n, last - 50_000n)).toBe(last - 50_000n);
  expect(await log.stepEnd(last, 1n << 40n)).toBeNull();
}, 60_000);

test("purges of an epoch are numbered behind those of every earlier one, and none is announced before it is open", async () => {
  await using bench = await openReadBench();
  const session = bench.session();
  await publish(session);
  await roll(session);
  const announce = async (): Promise<unknown> =>
    (
      await session`
        select purge::text as purge from pgstream.announce_segment_purge(0, (select pg_current_snapshot()))`
    )[0]?.["purge"];
  await becomeAnotherServer(session);
  expect(await announce()).toBeNull();
  await publish(session);
  expect(BigInt(String(await announce()))).toBeGreaterThan(2n << 32n);
}, 60_000);

test("what retention has emptied of an epoch last is its floor, and none of the next one's; nor is what is gone of one gone of the other", async () => {
  await using bench = await openReadBench();
  const session = bench.session();
  for (const segment of [0, 1]) {
    await publish(session);
    await roll(session);
    await session`select from pgstream.announce_segment_purge(${segment}, (select pg_current_snapshot()))`;
  }
  await using client = openTestClient(bench.url);
  const log = makeLog(client);
  const { newest: first } = await log.epoch();
  await becomeAnotherServer(session);
  await publish(session);
  const { newest: second } = await log.epoch();
  expect(await log.starts.floor(first)).toMatchObject({ segments: { lastId: (2n << 32n) - 1n }, purge: 2n });
  expect(await log.starts.floor(second)).toEqual({ segments: null, purge: 2n });

  // As if the second one were of what has been published since: whoever still reads the first has missed nothing of it.
  await session`update pgstream.purges set epoch = 2 where id = 2`;
  for (const [epoch, purge] of [
    [first, 1n],
    [second, 2n],
  ] as const) {
    expect(await log.purgedTopics(epoch, 0n, null)).toMatchObject([{ purge, topic: "t", events: 1 }]);
  }
}, 60_000);

test("what opens an epoch is in it, though others began and ended since the transaction has its xid", async () => {
  await using bench = await openReadBench();
  const [opening, other] = [bench.session(), bench.session()];
  await publish(opening);
  await becomeAnotherServer(opening);
  await opening`begin`;
  await takeXid(opening);
  await takeXid(other);
  const first = await publish(opening);
  await opening`commit`;
  expect(await (await bench.reader()).read()).toEqual([first]);
}, 60_000);

test("who waits for a publish that opens an epoch opens none of its own", async () => {
  await using bench = await openReadBench();
  const [opening, waiting] = [bench.session(), bench.session()];
  await publish(opening);
  await becomeAnotherServer(opening);
  await opening`begin`;
  const first = await publish(opening);
  const publishing = publish(waiting);
  const watching = bench.session();
  const isWaiting = async (): Promise<boolean> =>
    (await watching`select from pg_locks where locktype = 'advisory' and objid = 2 and not granted`).length >
    0;
  await waitFor(isWaiting, { what: "the second publish to wait" });
  await opening`commit`;
  expect(await publishing).toBe(first + 1n);
  expect(await watching`select number from pgstream.epochs order by number`).toMatchObject([
    { number: 1 },
    { number: 2 },
  ]);
}, 60_000);

describeOnPostgres([15, 18], "an address that leads to a standby for a while", (version) => {
  const settings = { max_prepared_transactions: "10" };
  const committedLate = async (primary: PostgresServer): Promise<bigint[]> => {
    await using sql = connect(primary.url());
    const ids = [await publish(sql), await publish(sql)];
    await sql`begin`;
    const [row] = await sql`select pgstream.publish('t', '{}', notify => false) as id`;
    await sql`prepare transaction 'late'`;
    return [...ids, BigInt(row?.["id"] as string), await publish(sql), await publish(sql)];
  };

  test("takes nothing from whoever crosses: the standby does not have yet what committed late", async () => {
    await using primary = await startOwnServer({ version, settings });
    await migrateAs(primary.url());
    const ids = await committedLate(primary);
    await using standby = await startLaggingStandby(primary, version);
    await using sql = connect(primary.url());
    await sql`commit prepared 'late'`;
    await becomeAnotherServer(sql);
    ids.push(await publish(sql));

    let leadsTo: PostgresServer = primary;
    await using proxy = await startTcpProxy({
      get port() {
        return Number(new URL(leadsTo.url()).port);
      },
    });
    const lead = (server: PostgresServer): void => {
      leadsTo = server;
      proxy.reset();
    };
    let hasLed = false;
    await using subscriber = subscribe({
      database: proxy.through(primary.url()),
      onEpochChange: "cross",
      batchEventsMax: 1,
      pageEventsMax: 1,
      work: async () => {
        if (!hasLed) lead(standby);
        hasLed = true;
        await Promise.resolve();
      },
    });
    await waitFor(() => subscriber.subscription.status().code === "standby", {
      what: "the standby to be noticed",
      deadlineMs: 20_000,
    });
    lead(primary);
    await waitFor(() => subscriber.ids.at(-1) === ids.at(-1), {
      what: "the newest event",
      deadlineMs: 20_000,
    });
    expect(subscriber.ids).toEqual(ids);
  }, 90_000);
});

describeOnPostgres(
  [15, 18],
  "a transaction that made a topic, was prepared in an epoch that is over",
  (version) => {
    test("and commits on the way, does not end the crossing", async () => {
      await using primary = await startOwnServer({ version, settings: { max_prepared_transactions: "10" } });
      await migrateAs(primary.url());
      await using sql = connect(primary.url());
      const ids = [await publish(sql), await publish(sql)];
      await sql`begin`;
      await sql`select pgstream.publish('new', '{}', notify => false)`;
      await sql`prepare transaction 'late'`;
      ids.push(await publish(sql), await publish(sql));
      await becomeAnotherServer(sql);
      ids.push(await publish(sql));
      let isCommitted = false;
      await using subscriber = subscribe({
        database: primary.url(),
        onEpochChange: "cross",
        batchEventsMax: 1,
        pageEventsMax: 1,
        work: async () => {
          if (!isCommitted) await sql`commit prepared 'late'`;
          isCommitted = true;
        },
      });
      await waitFor(() => subscriber.ids.at(-1) === ids.at(-1), {
        what: "the newest event",
        deadlineMs: 20_000,
      });
      expect(subscriber.ids.filter((id) => ids.includes(id))).toEqual(ids);
    }, 60_000);
  },
);
