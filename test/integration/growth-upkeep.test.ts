//! What the log does to itself while it grows: attaching, rolling, counting, emptying and removing segments, adding topics.
//! None of it stands in a publisher's way, and none waits long for anybody. Shown by holding what each of them holds, and
//! publishing under a lock timeout meanwhile: no clock is needed.

import { describe, expect, test } from "bun:test";

import postgres from "postgres";

import { startLockWatch } from "../../bench/growth/lock-waits.ts";
import { openRaw } from "../../bench/raw-table.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { type Bench, openBench, openTransaction } from "../support/purging.ts";
import { waitFor } from "../support/wait-for.ts";

/** A session that gives up at once on any lock that somebody else holds. */
const openImpatient = (url: string) => {
  const sql = postgres(url, {
    max: 1,
    fetch_types: false,
    onnotice: () => {},
    connection: { lock_timeout: 1 },
  });
  return { sql, [Symbol.asyncDispose]: async () => await sql.end({ timeout: 1 }) };
};

/** Segment 0 with events older than any retention, segment 1 in use. */
const openGrownLog = async (): Promise<Bench> => {
  const log = await openBench();
  await log.publish("t", 3);
  await log.roll();
  await log.publish("t");
  await log.pass("30 days");
  await log.publish("t");
  return log;
};

const announce = `
  select pgstream.announce_segment_purge(s.segment, s.floor) from pgstream.expired_segments('7 days') s`;

interface Work {
  /** Statements that have been committed, one by one, before it. */
  readonly before?: readonly string[];
  /** What is held open. False, or no row, says that there was nothing to do. */
  readonly held: string;
}

const roll = "select pgstream.roll_segment('0 s', 0)";
const prepare = "select pgstream.prepare_segments()";

const upkeep: Readonly<Record<string, Work>> = {
  // The one after the current one has been attached, and is still to be settled.
  "settling a segment": { held: `${prepare} = 0` },
  "rolling to the next segment": { before: [prepare], held: roll },
  "attaching a segment": { before: [prepare, roll], held: `${prepare} = 1` },
  "announcing that a segment goes, which counts its events": { held: announce },
  "emptying a segment": {
    before: [announce],
    held: "select pgstream.empty_segment(u.id) from pgstream.unfinished_purges() u",
  },
  "adding a topic": { held: "insert into pgstream.topics (name) values ('another') returning id" },
  "taking a tick": { held: "select pgstream.tick()" },
  "forgetting what is old": { held: "select pgstream.forget('7 days', 1000)" },
};

describe("publishers wait for nothing of this, and it for none of them", () => {
  for (const [what, { before, held }] of Object.entries(upkeep)) {
    test(what, async () => {
      await using log = await openGrownLog();
      await using publisher = openImpatient(log.url);
      await publisher.sql`select pgstream.publish('t', '{}')`;
      for (const statement of before ?? []) await log.sql.unsafe(statement);

      // Those who have published, and read all there is, and have not ended their transactions.
      const open = await openTransaction(log.url);
      await open.sql`select pgstream.publish('t', '{}')`;
      const work = await openTransaction(log.url);
      await work.sql.unsafe("set local lock_timeout = '100ms'");
      const [row] = await work.sql.unsafe(held);
      expect(Object.values(row ?? { done: false })).not.toContain(false);

      await open.sql`select pgstream.publish('t', '{}')`;
      await publisher.sql`select pgstream.publish('t', '{}')`;
      await publisher.sql`select pgstream.publish('others', '{}')`;
      await work.end("commit");
      await publisher.sql`select pgstream.publish('t', '{}')`;
      await open.end("commit");
    });
  }

  test("removing an emptied segment, while it waits for who has the log open", async () => {
    await using log = await openGrownLog();
    await using publisher = openImpatient(log.url);
    await publisher.sql`select pgstream.publish('t', '{}')`;
    await log.sql`truncate pgstream.events_0`;
    const open = await openTransaction(log.url);
    await open.sql`select count(*) from pgstream.events`;
    const removing =
      log.sql`alter table pgstream.events detach partition pgstream.events_0 concurrently`.execute();
    const isWaiting = async (): Promise<boolean> => {
      const waiting = await log.sql`
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like 'alter table%'`;
      return waiting.length > 0;
    };
    await waitFor(isWaiting, { what: "the removal to wait" });
    await publisher.sql`select pgstream.publish('t', '{}')`;
    await open.end("commit");
    await removing;
    await publisher.sql`select pgstream.publish('t', '{}')`;
  });

  test("every function that changes tables gives up on a lock within 100 ms", async () => {
    await using log = await openBench();
    const functions = await log.sql<{ name: string; timeout: string | null }[]>`
      select proname as name, (
          select split_part(setting, '=', 2) from unnest(proconfig) setting where setting like 'lock_timeout=%') as timeout
      from pg_proc
      where pronamespace = 'pgstream'::regnamespace
        and prosrc ~* '(alter table|lock table|truncate|pg_advisory_xact_lock[(]1885827956, 3[)])'
        and proname <> 'attach_segment'
      order by proname`;
    expect(functions.map((it) => it.name)).toEqual([
      "announce_segment_purge",
      "announce_topic_purge",
      "empty_segment",
      "prepare_segments",
      "roll_segment",
    ]);
    expect(new Set(functions.map((it) => it.timeout))).toEqual(new Set(["100ms"]));
  });
});

describe("what is remembered of those who publish", () => {
  const batches = 100;

  test("is rewritten in place, batch after batch, and takes no more room for it", async () => {
    await using log = await openBench();
    await log.sql`alter table pgstream.publishers set (autovacuum_enabled = off, toast.autovacuum_enabled = off)`;
    const size = async (): Promise<number> => {
      const [row] = await log.sql<{ bytes: number }[]>`
        select pg_total_relation_size('pgstream.publishers')::integer as bytes`;
      return row?.bytes ?? 0;
    };
    const publisher = openPublisher({ database: log.url });
    const send = async (): Promise<void> => {
      const draft = { topic: "t", data: {} };
      for (let n = 0; n < batches; n += 1) await publisher.publish([draft, draft]);
    };
    await send();
    const before = await size();
    await send();
    expect(await size()).toBe(before);
    // The first batch makes the row.
    const updatesMin = 2 * batches - 1;
    // A session's statistics are complete when it has ended.
    await publisher.close(1_000);
    const updates = async () => {
      const [row] = await log.sql<{ all: number; in_place: number }[]>`
        select n_tup_upd::integer as all, n_tup_hot_upd::integer as in_place
        from pg_stat_user_tables where relid = 'pgstream.publishers'::regclass`;
      return row !== undefined && row.all >= updatesMin && row;
    };
    const counted = await waitFor(updates, { what: "the updates to be counted" });
    expect(counted.in_place).toBe(counted.all);
  });
});

test("the benchmark sees how long a session waits for a lock, and who it is", async () => {
  await using log = await openBench();
  await using open = new AsyncDisposableStack();
  const session = () => open.adopt(openRaw(log.url, 1), async (it) => await it.end({ timeout: 1 }));
  const holder = await openTransaction(log.url);
  await holder.sql`lock table pgstream.topics`;
  const waiter = session();
  const [row] = await waiter<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const pid = row?.pid ?? 0;
  const stopping = new AbortController();
  const own = startLockWatch(session(), pid, stopping.signal);
  const other = startLockWatch(session(), 0, stopping.signal);
  expect([own.longest(), other.longest()]).toEqual([
    { own: 0, others: 0 },
    { own: 0, others: 0 },
  ]);

  const waiting = waiter`select count(*) from pgstream.topics`.execute();
  const isSeen = (): boolean => own.longest().own > 50 && other.longest().others > 50;
  await waitFor(isSeen, { what: "a wait of 50 ms" });
  await holder.end("rollback");
  await waiting;
  stopping.abort();
  await Promise.all([own.done, other.done]);
  expect(own.longest().others).toBe(0);
  expect(other.longest().own).toBe(0);
});
