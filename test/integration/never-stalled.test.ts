//! What one transaction, or one topic, may not do to another: hold it up, hide it, or change its order.

import { describe, expect, test } from "bun:test";

import { emptySnapshot, makeSnapshot } from "../../src/core/snapshot.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { connect } from "../support/migrator.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { openReadBench, publish, publishMany, roll, takeXid } from "../support/read-bench.ts";

describe("a transaction that is left open", () => {
  test("delays its own events and nobody else's, however long it stays", async () => {
    await using bench = await openReadBench();
    const [open, other] = [bench.session(), bench.session()];
    const reader = await bench.reader();
    await open`begin`;
    const own = [await publish(open)];
    for (let n = 0; n < 20; n += 1) {
      const id = await publish(other);
      if (n % 5 === 0) await other`select pgstream.tick()`;
      if (n === 10) await roll(other);
      expect(await reader.read()).toEqual([id]);
    }
    own.push(await publish(open));
    expect(await reader.read()).toEqual([]);
    await open`commit`;
    expect(await reader.read()).toEqual(own);
  });

  test("in another database delays nothing, whether it ends or not", async () => {
    await using bench = await openReadBench();
    await using another = await createTestDatabase();
    await using elsewhere = connect(another.url);
    const session = bench.session();
    const reader = await bench.reader();
    await elsewhere`begin`;
    await takeXid(elsewhere);
    for (let n = 0; n < 5; n += 1) {
      const id = await publish(session);
      expect(await reader.read()).toEqual([id]);
    }
    await elsewhere`commit`;
    expect(await reader.read()).toEqual([]);
    const id = await publish(session);
    expect(await reader.read()).toEqual([id]);
  });

  test("without having published delays nothing either, though it holds an xid, a snapshot and locks", async () => {
    await using bench = await openReadBench();
    const [open, other] = [bench.session(), bench.session()];
    await open`begin isolation level repeatable read`;
    await takeXid(open);
    await open`select count(*) from pgstream.events`;
    const reader = await bench.reader();
    const ids = [await publish(other), ...(await publishMany(other, 3))];
    expect(await reader.read()).toEqual(ids);
    await open`rollback`;
    expect(await reader.read()).toEqual([]);
  });
});

describe("a subscription of one topic", () => {
  const one = { filter: parseTopicPatterns(["one"]) };

  test("is not disturbed by what happens on others: backlogs, open transactions, rollbacks", async () => {
    await using bench = await openReadBench();
    const [a, b] = [bench.session(), bench.session()];
    const reader = await bench.reader({ ...one, pageEventsMax: 3, batchEventsMax: 2 });
    const ids = [await publish(a, "one")];
    await publishMany(a, 5_000);
    await b`begin`;
    await publishMany(b, 100);
    ids.push(await publish(a, "one"));
    expect(await reader.read()).toEqual(ids);
    await publishMany(b, 100);
    await b`commit`;
    expect(await reader.read()).toEqual([]);
    await b`begin`;
    await publishMany(b, 10);
    const last = [await publish(a, "one"), await publish(a, "one")];
    await b`rollback`;
    expect(await reader.read()).toEqual(last);
  });

  test("gets a transaction's events of that topic and not its others, in their order", async () => {
    await using bench = await openReadBench();
    const [a, b] = [bench.session(), bench.session()];
    await publish(a, "one");
    await b`begin`;
    const wanted: bigint[] = [];
    for (let n = 0; n < 4; n += 1) {
      await publish(b, "t");
      wanted.push(await publish(b, "one"));
    }
    const reader = await bench.reader({ ...one, pageEventsMax: 2 });
    expect(await reader.read()).toHaveLength(1);
    await b`commit`;
    expect(await reader.read()).toEqual(wanted);
  });
});

test("a look compares xids as numbers, not as text: 99 comes before 100", async () => {
  await using bench = await openReadBench();
  const session = bench.session();
  // As on a server so young that its xids have two digits and then three.
  const xids = [9n, 10n, 99n, 100n];
  for (const xid of xids) {
    await session`
      insert into pgstream.events (xid, id, created_at, topic_id, data)
      select ${String(xid)}::text::xid8, ${String(xid)}::bigint, now(), t.id, '{}' from pgstream.topics t where t.name = 't'`;
    await session`
      insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
      values (1, ${String(xid)}::text::xid8, ${`${xid}:${xid}:`}::text::pg_snapshot, ${String(xid - 1n)}::bigint, ${String(xid)}::bigint, now())`;
  }
  await session`insert into pgstream.topics (name, xid) values ('u', '99'::xid8)`;
  await session`update pgstream.topics set xid = '100'::xid8 where name = 't'`;
  const { newest: epoch } = await bench.log.epoch();
  const lookFrom = async (xmax: bigint) => {
    const since = makeSnapshot(xmax, []);
    return await bench.log.look({ since, epoch, bound: 0n, topicsSince: since, expectsTick: false });
  };

  const fromStart = await lookFrom(emptySnapshot.xmax);
  expect(fromStart).toMatchObject({
    newestXid: 100n,
    tickTop: 100n,
    bounds: { main: null },
  });
  const ticks: (bigint | undefined)[] = [];
  for (const xmax of [3n, 9n, 10n, 99n, 100n]) ticks.push((await lookFrom(xmax)).tick?.xmax);
  expect(ticks).toEqual([100n, 100n, 100n, 100n, undefined]);
  const behind = await lookFrom(101n);
  expect(behind).toMatchObject({
    newestXid: null,
    tickTop: null,
    bounds: { main: { xid: 100n, lastId: 99n } },
    topics: [],
  });
  expect((await lookFrom(100n)).topics).toMatchObject([{ name: "t", xid: 100n }]);

  const cursor = { epoch: epoch.id, purge: 0n, seen: emptySnapshot, window: null };
  for (const pageEventsMax of [1, 100]) {
    const reader = await bench.reader({ from: { kind: "cursor", cursor }, pageEventsMax });
    expect(await reader.read()).toEqual(xids);
  }
});
