//! What a tick claims is true only when it is taken in the right order, in a transaction of its own, one after the other.

import { afterEach, beforeEach, expect, test } from "bun:test";

import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import { becomeAnotherServer } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import {
  openReadBench,
  publish,
  publishMany,
  type ReadBench,
  type Session,
  takeXid,
} from "../support/read-bench.ts";

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
