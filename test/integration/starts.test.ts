//! Where a subscription starts: each way gives what it says, to the event.

import { describe, expect, test } from "bun:test";

import { decodeCursor } from "../../src/core/cursor-codec.ts";
import { PgstreamError } from "../../src/core/errors.ts";
import type { From } from "../../src/core/read/start.ts";
import { openStore } from "../../src/library/open-store.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { becomeAnotherServer } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import { openBench, openTransaction } from "../support/purging.ts";
import {
  openReadBench,
  publish,
  publishMany,
  type ReadBench,
  type Session,
  takeXid,
} from "../support/read-bench.ts";
import { makeRandom } from "../support/seed.ts";
import { waitFor } from "../support/wait-for.ts";

const tick = async (session: Session): Promise<void> => {
  const [row] = await session<{ ticked: boolean }[]>`select pgstream.tick() as ticked`;
  if (row?.ticked !== true) throw new Error("no tick was taken");
};

/** A full millisecond, which is all that a Date can hold, behind everything that has happened and before what comes. */
const databaseTime = async (session: Session): Promise<Date> => {
  const [row] = await session<{ now: string }[]>`select clock_timestamp()::text as now`;
  return await waitFor(
    async () => {
      const [later] = await session<{ at: Date }[]>`
        select it as at from date_trunc('milliseconds', clock_timestamp()) it
        where it > ${row?.now ?? ""}::text::timestamptz`;
      return later?.at;
    },
    { what: "the next millisecond", pollIntervalMs: 1 },
  );
};

const readFrom = async (bench: ReadBench, from: From): Promise<readonly bigint[]> =>
  await (await bench.reader({ from, pageEventsMax: 4, batchEventsMax: 3 })).read();

describe("earliest", () => {
  test("is the first event there is", async () => {
    await using bench = await openReadBench();
    const ids = await publishMany(bench.session(), 5);
    expect(await readFrom(bench, { kind: "earliest" })).toEqual([...ids]);
  });
});

describe("latest", () => {
  test.each(["without ticks", "with a tick behind it"])(
    "is what commits from now on, and nothing before: %s",
    async (how) => {
      await using bench = await openReadBench();
      const [a, b] = [bench.session(), bench.session()];
      await publish(a);
      if (how !== "without ticks") await tick(a);
      await publish(a);
      await b`begin`;
      const late = await publish(b);
      await publish(a);
      const reader = await bench.reader({ from: { kind: "latest" } });
      expect(await reader.read()).toEqual([]);
      const next = await publish(a);
      await b`commit`;
      expect(await reader.read()).toEqual([late, next]);
    },
  );

  test("is remembered by a store from the beginning: nothing that comes between two runs is missed", async () => {
    await using bench = await openReadBench();
    const session = bench.session();
    await publish(session);
    const store = await openStore("sqlite::memory:");
    const handled: bigint[] = [];
    const open = () =>
      openSubscription({
        database: bench.url,
        topics: [">"],
        from: "latest",
        store,
        subscription: "quiet",
        handle: async (events) => {
          handled.push(...events.map(({ id }) => id));
          await Promise.resolve();
        },
      });
    const first = open();
    await waitFor(() => first.status().state === "live", { what: "the first run to be live" });
    await first.stop();
    const between = await publishMany(session, 3);
    await using _ = open();
    await waitFor(() => handled.length >= between.length, { what: "the events between the runs" });
    expect(handled).toEqual([...between]);
    await store.close();
  });

  test("of a log without events is its first event", async () => {
    await using bench = await openReadBench();
    const reader = await bench.reader({ from: { kind: "latest" } });
    expect(await reader.read()).toEqual([]);
    const id = await publish(bench.session());
    expect(await reader.read()).toEqual([id]);
  });
});

describe("a time", () => {
  test("gives all that was committed then or later, and nothing from before the last tick before it", async () => {
    await using bench = await openReadBench();
    const [a, b] = [bench.session(), bench.session()];
    const beginning = await databaseTime(a);
    const first = await publish(a);
    await b`begin`;
    const late = await publish(b);
    await tick(a);
    const afterTick = await databaseTime(a);
    const second = await publish(a);
    const between = await databaseTime(a);
    const third = await publish(a);
    await b`commit`;
    await tick(a);
    const end = await databaseTime(a);
    const fourth = await publish(a);

    expect(await readFrom(bench, { kind: "time", at: beginning })).toEqual([
      first,
      late,
      second,
      third,
      fourth,
    ]);
    expect(await readFrom(bench, { kind: "time", at: afterTick })).toEqual([late, second, third, fourth]);
    // Perhaps a little before it: ticks are what a time is known by.
    expect(await readFrom(bench, { kind: "time", at: between })).toEqual([late, second, third, fourth]);
    expect(await readFrom(bench, { kind: "time", at: end })).toEqual([fourth]);
    expect(await readFrom(bench, { kind: "time", at: new Date(end.getTime() + 3_600_000) })).toEqual([
      fourth,
    ]);
  });
});

describe("an id", () => {
  test("gives that event and all with greater ids, wherever ticks are", async () => {
    const random = makeRandom("from an id");
    await using bench = await openReadBench();
    const session = bench.session();
    const ids: bigint[] = [];
    while (ids.length < 40) {
      if (random.chance(0.2) && ids.length > 0) await session`select pgstream.tick()`;
      ids.push(...(await publishMany(session, random.integer(1, 4))));
    }
    for (let id = 0n; id <= (ids.at(-1) ?? 0n) + 1n; id += 1n) {
      expect(await readFrom(bench, { kind: "id", id })).toEqual(ids.filter((it) => it >= id));
    }
  });

  test("includes what was still open: whatever has such an id comes, though it commits late or took its xid early", async () => {
    await using bench = await openReadBench();
    const [a, b, c] = [bench.session(), bench.session(), bench.session()];
    await publish(a);
    await b`begin`;
    await takeXid(b);
    await tick(a);
    const second = await publish(a);
    await c`begin`;
    const third = await publish(c);
    await tick(a).catch(() => {});
    const fourth = await publish(b);
    await tick(a);
    const fifth = await publish(a);
    const reader = await bench.reader({ from: { kind: "id", id: second } });
    expect(await reader.read()).toEqual([second, fifth]);
    await b`commit`;
    await c`commit`;
    expect(await reader.read()).toEqual([third, fourth]);
  });

  test("is found behind a tick that saw it though it counted the ids before", async () => {
    await using bench = await openReadBench();
    const session = bench.session();
    await publish(session);
    await tick(session);
    await publish(session);
    // As tick() may come out: the last id is read, then an event commits, then the snapshot is taken.
    const seen = await publish(session);
    await session`
      insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
      values (1, pg_current_xact_id(), pg_current_snapshot(), ${String(seen - 1n)}::text::bigint, ${String(seen)}::text::bigint, clock_timestamp())`;
    await tick(session);
    const next = await publish(session);
    expect(await readFrom(bench, { kind: "id", id: seen })).toEqual([seen, next]);
  });

  test("that is the next one starts with it, and one beyond is refused", async () => {
    await using bench = await openReadBench();
    const session = bench.session();
    const last = await publish(session);
    const reader = await bench.reader({ from: { kind: "id", id: last + 1n } });
    expect(await reader.read()).toEqual([]);
    const refused = await caught(readFrom(bench, { kind: "id", id: last + 2n }));
    expect(refused).toBeInstanceOf(PgstreamError);
    expect(refused).toMatchObject({ code: "invalid_cursor" });
    const next = await publish(session);
    expect(await reader.read()).toEqual([next]);
  });

  test("stands in the middle of a window, and its cursor's text goes on from there", async () => {
    await using bench = await openReadBench();
    const ids = await publishMany(bench.session(), 10);
    const reader = await bench.reader({ from: { kind: "id", id: ids[4] ?? 0n }, batchEventsMax: 2 });
    expect(await reader.read(1)).toEqual(ids.slice(4, 6));
    const resumed = await bench.reader({ stored: reader.cursor() });
    expect(await resumed.read()).toEqual(ids.slice(6));
  });

  test("of an earlier epoch starts with this one's first event: restored rows do not come as new when their xids are reached", async () => {
    await using bench = await openReadBench();
    const session = bench.session();
    for (let n = 0; n < 3; n += 1) {
      await publishMany(session, 1);
      await tick(session);
    }
    const before = await databaseTime(session);
    // As after a restore: the rows are there, their xids lie in the future, the server is another one.
    await session`
      update pgstream.events set xid = (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 20)::text::xid8`;
    await session`
      update pgstream.ticks set xid = (xid::text::bigint + 1000)::text::xid8, snapshot = (
        select (x || ':' || x || ':')::pg_snapshot from (select xid::text::bigint + 1000 as x) future)`;
    await becomeAnotherServer(session);
    const id = await publish(session);
    expect(id).toBe(1n << 47n);
    for (let n = 0; n < 40; n += 1) await takeXid(session);
    const next = await publish(session);
    for (const start of [0n, 1n, 3n, id]) {
      const reader = await bench.reader({
        from: { kind: "id", id: start },
        batchEventsMax: 1,
        pageEventsMax: 1,
      });
      expect(decodeCursor(reader.cursor()).epoch).toHaveLength(36);
      expect(await reader.read()).toEqual([id, next]);
    }
    // Ticks of the earlier epoch claim to have seen it all.
    expect(await readFrom(bench, { kind: "id", id: next })).toEqual([next]);
    expect(await readFrom(bench, { kind: "time", at: before })).toEqual([id, next]);
    const latest = await bench.reader({ from: { kind: "latest" } });
    const last = await publish(session);
    expect(await latest.read()).toEqual([last]);
    const more = await publish(session);
    expect(await latest.read()).toEqual([more]);
  });
});

describe("below the floor of retention", () => {
  test("an id or a time from before it still finds what an older transaction wrote behind it", async () => {
    await using log = await openBench();
    await log.publish("t", 3);
    const early = await databaseTime(log.sql);
    // Its xid is below the floor, its event in the segment that stays.
    const old = await openTransaction(log.url);
    await old.sql`select pg_current_xact_id()`;
    await log.publish("t", 3);
    await log.roll();
    const [first = 0n] = await log.publish("t");
    const [row] = await old.sql<{ id: string }[]>`select pgstream.publish('t', '"behind"') as id`;
    const behind = BigInt(row?.id ?? 0);
    await old.end("commit");
    await log.pass("8 days");
    const [kept = 0n] = await log.publish("t");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1 });
    expect(await log.ids()).toEqual([first, behind, kept]);

    await using bench = await openReadBench(log.url);
    const longAgo = new Date(early.getTime() - 30 * 86_400_000);
    for (const from of [
      { kind: "earliest" },
      { kind: "id", id: 1n },
      { kind: "id", id: 5n },
      { kind: "id", id: first },
      { kind: "time", at: longAgo },
    ] as const) {
      expect([from, await readFrom(bench, from)]).toEqual([from, [first, behind, kept]]);
    }
    expect(await readFrom(bench, { kind: "id", id: behind })).toEqual([behind, kept]);
    expect(await readFrom(bench, { kind: "id", id: kept })).toEqual([kept]);
  });
});
