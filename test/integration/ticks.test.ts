//! What a tick claims is true only when it is taken in the right order, in a transaction of its own, one after the other.

import { afterEach, beforeEach, expect, test } from "bun:test";

import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import { emptySnapshot, makeSnapshot, type Snapshot } from "../../src/core/snapshot.ts";
import { becomeAnotherServer, openTestClient } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import {
  openReadBench,
  publish,
  publishMany,
  type ReadBench,
  type Session,
  takeXid,
} from "../support/read-bench.ts";
import { waitFor } from "../support/wait-for.ts";

let bench: ReadBench;
let a: Session;
let b: Session;
beforeEach(async () => {
  bench = await openReadBench();
  [a, b] = [bench.session(), bench.session()];
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

const tick = async (session: Session): Promise<boolean> =>
  (await session<{ ticked: boolean }[]>`select pgstream.tick() as ticked`)[0]?.ticked === true;

interface Tick {
  readonly xid: bigint;
  readonly xmax: bigint;
  readonly last_id: bigint;
}

const ticks = async (): Promise<readonly Tick[]> => {
  const rows = await b<{ xid: string; xmax: string; last_id: string }[]>`
    select xid::text as xid, pg_snapshot_xmax(snapshot)::text as xmax, last_id from pgstream.ticks t order by t.xid`;
  return rows.map((row) => ({ xid: BigInt(row.xid), xmax: BigInt(row.xmax), last_id: BigInt(row.last_id) }));
};

test("a tick is taken when ids were handed out since the last one, else not", async () => {
  expect(await tick(a)).toBe(false);
  await publish(a);
  expect(await tick(a)).toBe(true);
  expect(await tick(a)).toBe(false);
  await a`begin`;
  await publish(a);
  await a`rollback`;
  expect(await tick(b)).toBe(true);
  expect((await ticks()).map((it) => it.last_id)).toEqual([1n, 2n]);
});

test("a transaction that has an xid already is refused: what the tick claims of ids would be false", async () => {
  await a`begin`;
  await takeXid(a);
  await publishMany(b, 8);
  expect(sqlstateOf(await caught(tick(a)))).toBe("PS007");
  await a`rollback`;
  await a`begin`;
  await publish(a);
  expect(sqlstateOf(await caught(tick(a)))).toBe("PS007");
  await a`rollback`;
  expect(await ticks()).toEqual([]);
  expect(await (await bench.reader()).read()).toHaveLength(8);
});

test.each(["repeatable read", "serializable"])(
  "a transaction in %s is refused: its snapshot is older than the ids",
  async (level) => {
    await publish(b);
    await a.unsafe(`begin isolation level ${level}`);
    await a`select count(*) from pgstream.topics`;
    expect(sqlstateOf(await caught(tick(a)))).toBe("PS007");
    await a`rollback`;
  },
);

test("with synchronous_commit off it is raised to on, for the tick's transaction: a reader rests where a tick says", async () => {
  const setting = async (): Promise<unknown> => (await a`show synchronous_commit`)[0]?.["synchronous_commit"];
  await publish(a);
  await a`set synchronous_commit = off`;
  await a`begin`;
  expect(await tick(a)).toBe(true);
  expect(await setting()).toBe("on");
  await a`commit`;
  expect(await setting()).toBe("off");
});

test("two are never taken in parallel: while one is open the other says no, and waits for nobody", async () => {
  await publish(a);
  await a`begin`;
  expect(await tick(a)).toBe(true);
  await publish(b);
  expect(await tick(b)).toBe(false);
  await a`commit`;
  expect(await tick(b)).toBe(true);
  const [first, second] = await ticks();
  expect(second?.xid).toBeGreaterThan(first?.xid ?? 0n);
  expect(second?.last_id).toBeGreaterThan(first?.last_id ?? 0n);
});

test("a tick does not see itself, and an event published behind it in its own transaction is not lost", async () => {
  await publish(a);
  await a`begin`;
  expect(await tick(a)).toBe(true);
  const own = await publish(a);
  const other = await publish(b);
  const reader = await bench.reader({ pageEventsMax: 1, batchEventsMax: 1 });
  expect(await reader.read()).toEqual([1n, other]);
  await a`commit`;
  expect(await reader.read()).toEqual([own]);
  for (const { xid, xmax } of await ticks()) expect(xid).toBeGreaterThanOrEqual(xmax);
});

test("an event published while a tick is taken, which sees it, is above its last id and not above its top id", async () => {
  const first = await publish(a);
  await b.unsafe(`
    alter function pgstream.last_id() rename to true_last_id;
    create function pgstream.last_id() returns bigint language plpgsql as $$
    declare
      told bigint := pgstream.true_last_id();
    begin
      perform pg_advisory_xact_lock(77);
      return told;
    end $$`);
  const holder = bench.session();
  await holder`select pg_advisory_lock(77)`;
  const ticking = tick(a);
  const isWaiting = async (): Promise<boolean> =>
    (await b`select from pg_locks where locktype = 'advisory' and objid = 77 and not granted`).length > 0;
  await waitFor(isWaiting, { what: "the tick to know the last id" });
  const meanwhile = await publish(b);
  await holder`select pg_advisory_unlock(77)`;
  expect(await ticking).toBe(true);
  const [row] = await b`
    select pg_visible_in_snapshot(e.xid, t.snapshot) as seen, t.last_id::text as last_id, t.top_id::text as top_id
    from pgstream.ticks t, pgstream.events e where e.id = ${String(meanwhile)}::bigint`;
  expect(row).toEqual({ seen: true, last_id: String(first), top_id: String(meanwhile) });
});

const firstOfNextEpoch = 1n << 47n;

const epochs = async (): Promise<number> =>
  (await b<{ count: number }[]>`select count(*)::integer as count from pgstream.epochs`)[0]?.count ?? 0;

/** As the migrator leaves the log; a restore does it last. */
const giveRights = async (): Promise<void> => {
  await b`grant usage on schema pgstream to current_user`;
};

test("on a server that is not the one of the newest epoch it opens the next one, so that no publish holds up others", async () => {
  await giveRights();
  await publish(a);
  await becomeAnotherServer(a);
  expect(await tick(a)).toBe(false);
  expect(await epochs()).toBe(2);
  expect(await tick(a)).toBe(false);
  await a`begin`;
  await publish(a);
  await b`set lock_timeout = '2s'`;
  expect(await publish(b)).toBeGreaterThan(firstOfNextEpoch);
  await a`commit`;
  expect(await tick(a)).toBe(true);
  expect(await epochs()).toBe(2);
});

test("amid a restore it opens none: the sequence may be set back after that, below the new epoch", async () => {
  await publish(a);
  await becomeAnotherServer(a);
  expect(await tick(a)).toBe(false);
  expect(await epochs()).toBe(1);
  await giveRights();
  expect(await tick(a)).toBe(false);
  expect(await epochs()).toBe(2);
});

test("an epoch that a publish is opening is not waited for, and one without a segment is left to a later tick", async () => {
  await giveRights();
  await publish(a);
  await becomeAnotherServer(a);
  await a`begin`;
  await publish(a);
  await b`set lock_timeout = '2s'`;
  expect(await tick(b)).toBe(false);
  await a`commit`;
  expect(await epochs()).toBe(2);

  await becomeAnotherServer(a);
  expect(await tick(a)).toBe(false);
  expect(await epochs()).toBe(2);
  await a`select pgstream.prepare_segments()`;
  expect(await tick(a)).toBe(false);
  expect(await epochs()).toBe(3);
});

test("a tick waits for nobody who holds the settings, and what it had to write there the next one writes", async () => {
  const known = async (): Promise<unknown> =>
    (await b`select pgstream.is_known_server(s) as known from pgstream.settings s`)[0]?.["known"];
  await a`update pgstream.settings set server_started_at = server_started_at - interval '1 day'`;
  await b`begin`;
  await b`update pgstream.settings set create_topics = true`;
  await publish(a);
  await a`set lock_timeout = '2s'`;
  expect(await tick(a)).toBe(true);
  await b`commit`;
  expect(await known()).toBe(false);
  await publish(a);
  expect(await tick(a)).toBe(true);
  expect(await known()).toBe(true);
});

test("a catch-up goes eight ticks at a time, so that no window is long however far behind it is", async () => {
  for (let n = 0; n < 18; n += 1) {
    await publishMany(a, 100);
    expect(await tick(a)).toBe(true);
  }
  await publishMany(a, 30);
  const sizes: number[] = [];
  const log = {
    ...bench.log,
    firstPage: async (...request: Parameters<ReadBench["log"]["firstPage"]>) => {
      const page = await bench.log.firstPage(...request);
      sizes.push(page.rows.length);
      return page;
    },
    nextPage: async (...request: Parameters<ReadBench["log"]["nextPage"]>) => {
      const page = await bench.log.nextPage(...request);
      sizes.push(page.rows.length);
      return page;
    },
  };
  expect(await (await bench.reader({ log })).read()).toHaveLength(1_830);
  expect(sizes).toEqual([800, 800, 200, 30]);
});

test("the last id that was handed out is never one that was not, however many are drawn meanwhile", async () => {
  const looks = 200_000;
  await a.unsafe(`
    create function public.draw(count integer) returns void language plpgsql as $$
    begin
      for n in 1..count loop
        perform nextval('pgstream.event_ids');
      end loop;
    end $$;
    -- How often an id was told that had not been handed out a moment later.
    create function public.look(count integer) returns integer language plpgsql as $$
    declare
      told bigint;
      ahead integer := 0;
    begin
      for n in 1..count loop
        told := pgstream.last_id();
        if told > pg_sequence_last_value('pgstream.event_ids') then
          ahead := ahead + 1;
        end if;
      end loop;
      return ahead;
    end $$`);
  const over = new AbortController();
  const drawing = [b, bench.session()].map(async (session) => {
    while (!over.signal.aborted) await session`select public.draw(10000)`;
  });
  const [row] = await a<{ ahead: number }[]>`select public.look(${looks}::integer) as ahead`;
  over.abort();
  await Promise.all(drawing);
  expect(row?.ahead).toBe(0);
}, 60_000);

/** A tick by its xid, as PostgreSQL took its snapshot; its last id is a hundred times that. */
const insertTick = async (epoch: number, xid: bigint, snapshot = `${xid}:${xid}:`): Promise<void> => {
  await b`
    insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
    values (${epoch}, ${String(xid)}::text::xid8, ${snapshot}::text::pg_snapshot,
      ${String(100n * xid)}::text::bigint, ${String(100n * xid + 1n)}::text::bigint, now())`;
};

/** What a look from there finds; far below the xids of the server. */
const lookFrom = async (since: Snapshot, topicsSince = emptySnapshot) => {
  await using client = openTestClient(bench.url);
  const log = makeLog(client);
  const { newest: epoch } = await log.epoch();
  const look = await log.look({ since, epoch, bound: 0n, topicsSince, expectsTick: true });
  return { ...look, bounds: [look.bounds, await log.bounds(epoch, since)] };
};

test("bounds are those of the highest ticks of the epoch that are low enough, to the xid", async () => {
  for (const xid of [10n, 20n, 30n]) await insertTick(1, xid);
  await insertTick(2, 25n);
  const boundAt = (xid: bigint | null) => (xid === null ? null : { xid, lastId: 100n * xid });
  for (const [since, main, late] of [
    [makeSnapshot(9n, []), null, null],
    [makeSnapshot(10n, []), 10n, 10n],
    [makeSnapshot(29n, [15n]), 20n, 10n],
    [makeSnapshot(30n, [20n]), 30n, 20n],
    [makeSnapshot(31n, [9n]), 30n, null],
  ] as const) {
    const bounds = { main: boundAt(main), late: boundAt(late) };
    expect((await lookFrom(since)).bounds).toEqual([bounds, bounds]);
  }
});

test("a window ends with the eighth of the next ticks of the epoch that see all that it starts with, and more", async () => {
  await insertTick(1, 99n);
  await insertTick(1, 100n);
  // Its last transaction runs: it sees no more than the one before.
  await insertTick(1, 101n, "100:101:100");
  await insertTick(1, 102n, "100:102:100");
  // Something runs in it that the window's start has seen.
  await insertTick(1, 103n, "60:103:60");
  // It was taken before the window's start, and drew its xid later.
  await insertTick(1, 104n, "90:90:");
  await insertTick(2, 104n);
  for (let xid = 105n; xid < 120n; xid += 1n) await insertTick(1, xid);
  for (const [since, xid] of [
    [makeSnapshot(100n, []), 111n],
    // To have seen what ran there is more, too.
    [makeSnapshot(100n, [50n]), 109n],
    [makeSnapshot(115n, []), 119n],
  ] as const) {
    expect(await lookFrom(since)).toMatchObject({ tick: makeSnapshot(xid, []), tickTop: 100n * xid + 1n });
  }
  expect(await lookFrom(makeSnapshot(119n, []))).toMatchObject({ tick: null, tickTop: null });
});

test("a look finds the newest event by number, not by text, and the topics made since, wherever their xids lie", async () => {
  for (const [index, xid] of [9n, 10n, 99n, 100n].entries()) {
    await b`
      insert into pgstream.events (xid, id, created_at, topic_id, data)
      values (${String(xid)}::text::xid8, ${index + 1}, now(), 1, '{}')`;
  }
  expect((await lookFrom(makeSnapshot(9n, []))).newestXid).toBe(100n);
  expect((await lookFrom(makeSnapshot(101n, []))).newestXid).toBeNull();

  const restored = 2n ** 40n;
  for (const xid of [30n, 40n, 45n, 50n, restored]) {
    await b`insert into pgstream.topics (name, xid) values (${`of-${xid}`}, ${String(xid)}::text::xid8)`;
  }
  const madeSince = async (topicsSince: Snapshot): Promise<readonly bigint[]> =>
    (await lookFrom(makeSnapshot(101n, []), topicsSince)).topics
      .filter(({ name }) => name.startsWith("of-"))
      .map(({ xid }) => xid)
      .toSorted((x, y) => Number(x - y));
  expect(await madeSince(emptySnapshot)).toEqual([30n, 40n, 45n, 50n, restored]);
  expect(await madeSince(makeSnapshot(50n, [40n]))).toEqual([40n, 50n]);
  expect(await madeSince(makeSnapshot(51n, []))).toEqual([]);
});
