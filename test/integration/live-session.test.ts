//! A live read knows which server it is on, on every connection that it gets, and what it learns of topics and late commits does not
//! depend on which of its statements it happens to send.

import { describe, expect, test } from "bun:test";

import { openClient, type PostgresClient } from "../../src/adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../../src/adapters/postgres/read/live-log.ts";
import type { Epoch } from "../../src/core/log.ts";
import { makeSnapshot, parseSnapshot, type Snapshot } from "../../src/core/snapshot.ts";
import type { LiveRead } from "../../src/core/tail/tail-reader.ts";
import { requestFrom } from "../support/live-request.ts";
import { becomeAnotherServer, targetOf } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import {
  openReadBench,
  publish,
  type ReadBench,
  roll,
  type Session,
  takeXid,
} from "../support/read-bench.ts";
import { openHands } from "../support/sessions.ts";

const openLive = (bench: ReadBench): PostgresClient =>
  openClient(targetOf(bench.url), { name: "live", deadlineMs: 20_000, session: liveSession });

const currentSnapshot = async (session: Session): Promise<Snapshot> => {
  const [row] = await session<{ now: string }[]>`select pg_current_snapshot()::text as now`;
  return parseSnapshot(row?.now ?? "");
};

describe("a live read on a server that has become another one", () => {
  const becomes: Readonly<Record<string, (bench: ReadBench, session: Session) => Promise<void>>> = {
    "its connection being renewed for another segment": async (_, session) => {
      await roll(session);
      await publish(session);
    },
    "its connection being lost while nobody asked for anything": async (bench) => {
      await using hands = openHands(bench.url);
      expect(await hands.terminate("live")).toBe(1);
    },
  };
  test.each(Object.entries(becomes))("says so, %s", async (_, happen) => {
    await using bench = await openReadBench();
    const session = bench.session();
    await publish(session);
    await using client = openLive(bench);
    const live = makeLiveLog(client);
    const { newest: epoch } = await bench.log.epoch();
    expect((await live.read(requestFrom(epoch, { identify: true }))).news.epoch.isRunning).toBe(true);
    await happen(bench, session);
    await becomeAnotherServer(session);
    expect((await live.read(requestFrom(epoch))).news.epoch.isRunning).toBe(false);
    await session`update pgstream.epochs set timeline = timeline - 100`;
    expect((await live.read(requestFrom(epoch, { identify: true }))).news.epoch.isRunning).toBe(true);
    // Not asked again while the connection lasts, unless one asks for it.
    await becomeAnotherServer(session);
    expect((await live.read(requestFrom(epoch))).news.epoch.isRunning).toBe(true);
    expect((await live.read(requestFrom(epoch, { identify: true }))).news.epoch.isRunning).toBe(false);
  });

  test("says so through a pooler, each time", async () => {
    await using bench = await openReadBench();
    const session = bench.session();
    await publish(session);
    await using client = openLive(bench);
    const live = makeLiveLog(client, true);
    const { newest: epoch } = await bench.log.epoch();
    expect((await live.read(requestFrom(epoch, { identify: true }))).news.epoch.isRunning).toBe(true);
    await becomeAnotherServer(session);
    expect((await live.read(requestFrom(epoch))).news.epoch.isRunning).toBe(false);
  });
});

test("other segments are looked into on another connection, and the one before is closed", async () => {
  await using bench = await openReadBench();
  await using hands = openHands(bench.url);
  const session = bench.session();
  await publish(session);
  await using client = openLive(bench);
  const live = makeLiveLog(client);
  const { newest: epoch } = await bench.log.epoch();
  await live.read(requestFrom(epoch));
  const before = await hands.sessions("live");
  await live.read(requestFrom(epoch));
  const again = await hands.sessions("live");
  expect(again.map(({ pid }) => pid)).toEqual(before.map(({ pid }) => pid));
  await roll(session);
  const id = await publish(session);
  const { page } = await live.read(requestFrom(epoch));
  expect(page.rows.map((row) => row.id)).toContain(id);
  const after = await hands.sessions("live");
  expect([before.length, after.length]).toEqual([1, 1]);
  expect(after[0]?.pid).not.toBe(before[0]?.pid ?? 0);
});

describe("a live read through a pooler, each of whose two statements tells the news", () => {
  interface Told {
    readonly standby?: boolean;
    readonly newestXid?: number;
  }
  // As of a row of news, in its order.
  const asText = ({ standby = false, newestXid }: Told): string =>
    [standby ? "t" : "f", 1, "e", 1, "1:1:", "t", "20:20:", newestXid ?? "", 0, "", 0, "1 now"].join(
      "\u001E",
    );
  let renewals = 0;
  const answering = (first: Told, { standby = false, newestXid }: Told): PostgresClient => ({
    run: async <T>() => {
      const again = { standby, number: 1, id: "e", first_id: "1", snapshot: "1:1:", running: true };
      const news = {
        ...again,
        // Later than that of the page, which lacks what has committed since.
        current: "25:25:",
        newest_xid: newestXid === undefined ? null : String(newestXid),
        purge: "0",
        topics: null,
        last_segment: 0,
      };
      return await Promise.resolve([[{ id: null, about: asText(first), data: null }], [news]] as T);
    },
    renew: () => {
      renewals += 1;
    },
    end: async () => {},
    [Symbol.asyncDispose]: async () => {},
  });
  const epoch: Epoch = { id: "e", number: 1, firstId: 1n, snapshot: makeSnapshot(1n, []) };
  const read = async (client: PostgresClient, pooled: boolean): Promise<LiveRead> =>
    await makeLiveLog(client, pooled).read(requestFrom(epoch, { identify: true }));

  test("refuses a standby, whichever of the two it answers, and asks the next one by another connection", async () => {
    expect((await read(answering({}, {}), true)).current.xmax).toBe(20n);
    renewals = 0;
    for (const [first, second] of [
      [{ standby: true }, {}],
      [{}, { standby: true }],
    ] as const) {
      expect(await caught(read(answering(first, second), true))).toMatchObject({ code: "standby" });
    }
    const standby = { standby: true };
    expect(await caught(read(answering(standby, standby), false))).toMatchObject({ code: "standby" });
    expect(renewals).toBe(3);
  });

  test("takes the newest event of the one whose snapshot it is: the server may have crashed between them", async () => {
    const { news } = await read(answering({ newestXid: 15 }, { newestXid: 17 }), true);
    expect(news.newestXid).toBe(15n);
    expect((await read(answering({}, { newestXid: 17 }), true)).news.newestXid).toBeNull();
  });
});

test("a topic that was being made is learned, whether or not anything was being made the time before", async () => {
  await using bench = await openReadBench();
  const [session, slow] = [bench.session(), bench.session()];
  await publish(session);
  await using client = openLive(bench);
  const live = makeLiveLog(client);
  const { newest: epoch } = await bench.log.epoch();
  const before = await currentSnapshot(session);
  expect((await live.read(requestFrom(epoch, { topicsSince: before }))).news.topics).toEqual([]);

  await slow`begin`;
  const xid = await takeXid(slow);
  await publish(slow, "late.topic");
  // A later xid, so that the slow one is below xmax.
  await publish(session);
  const during = await currentSnapshot(session);
  expect(during.xip).toEqual([xid]);
  await slow`commit`;
  const { news } = await live.read(requestFrom(epoch, { topicsSince: during }));
  expect(news.topics).toMatchObject([{ name: "late.topic", xid }]);
});

test("a late commit is found in the segment before the window's, in its own and in the one behind it", async () => {
  await using bench = await openReadBench();
  const [session, early, within, behind] = [
    bench.session(),
    bench.session(),
    bench.session(),
    bench.session(),
  ];
  await publish(session);
  await using client = openLive(bench);
  const live = makeLiveLog(client);
  const { newest: epoch } = await bench.log.epoch();

  const xids: bigint[] = [];
  for (const late of [early, within, behind]) {
    await late`begin`;
    xids.push(await takeXid(late));
  }
  const ids = [await publish(early)];
  await roll(session);
  ids.push(await publish(within));
  const bound = await publish(session);
  const since = await currentSnapshot(session);
  expect(since.xip).toEqual(xids);
  await roll(session);
  ids.push(await publish(behind));
  for (const late of [early, within, behind]) await late`commit`;
  const own = await publish(session);

  const bounds = { mainBound: bound, lateBound: epoch.firstId - 1n };
  const read = async (from: Snapshot) => await live.read(requestFrom(epoch, { since: from, ...bounds }));
  const [row] = await session<{ xid: string }[]>`
    select xid::text as xid from pgstream.events where id = ${String(own)}::text::bigint`;
  for (let n = 0; n < 2; n += 1) {
    // Where nothing was running it sends another statement, on a new connection after it has identified the server.
    for (const _ of ["first", "second"]) {
      expect((await read(makeSnapshot(since.xmax, []))).page.rows.map(({ id }) => id)).toEqual([own]);
    }
    const { page, news } = await read(since);
    expect(page.rows.map(({ id }) => id)).toEqual([...ids, own]);
    expect(news.newestXid).toBe(BigInt(row?.xid ?? 0));
  }
});

test("what is asked from further back, late commits or the rest, is looked for in the segments there, whatever was asked before", async () => {
  await using bench = await openReadBench();
  const [session, slow] = [bench.session(), bench.session()];
  const first = await publish(session);
  const before = await currentSnapshot(session);
  await using client = openLive(bench);
  const live = makeLiveLog(client);
  const { newest: epoch } = await bench.log.epoch();
  await slow`begin`;
  await takeXid(slow);
  const late = await publish(slow);
  await roll(session);
  const own = await publish(session);
  const during = await currentSnapshot(session);
  await slow`commit`;
  const next = await publish(session);

  const read = async (since: Snapshot, mainBound: bigint, lateBound: bigint) => {
    const { page } = await live.read(requestFrom(epoch, { since, mainBound, lateBound }));
    return page.rows.map(({ id }) => id);
  };
  // The segment of one bound changes, then that of the other.
  expect(await read(makeSnapshot(during.xmax, []), own, own)).toEqual([next]);
  expect(await read(during, own, first)).toEqual([late, next]);
  expect(await read(before, first, first)).toEqual([late, own, next]);
});
