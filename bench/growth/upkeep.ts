//! What publishers feel of the log's upkeep: segments full of events are counted, emptied and removed, the log rolls on, and
//! topics are added, over and over, while events are published at a steady rate; beside the same rate left in peace.

import { setTimeout as sleep } from "node:timers/promises";

import { openPublisher } from "../../src/library/publisher.ts";
import { liveThrough, makeTopics } from "../../test/support/growth-log.ts";
import type { BenchContext, Measure } from "../context.ts";
import { quantileOf } from "../figures.ts";
import { openRaw, type RawSql } from "../raw-table.ts";
import { rowOfFigure } from "./rows.ts";

const publishers = 4;
const intervalMs = 5;
const segments = 8;

/** Calls in an open loop: due by the clock, whether the one before has been answered or not. Their milliseconds. */
const publishFor = async (database: string, ms: number, signal: AbortSignal): Promise<readonly number[]> => {
  await using open = new AsyncDisposableStack();
  const took: number[] = [];
  const one = async (): Promise<void> => {
    const publisher = open.use(openPublisher({ database }));
    await publisher.publish({ topic: "topic.1", data: {} });
    const startedAtMs = performance.now();
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n * intervalMs * publishers < ms; n += 1) {
      const dueAtMs = startedAtMs + n * intervalMs * publishers;
      if (dueAtMs > performance.now()) await sleep(dueAtMs - performance.now());
      signal.throwIfAborted();
      const call = publisher.publish({ topic: "topic.1", key: `key ${n % 100}`, data: { n } });
      calls.push(call.then(() => took.push(performance.now() - dueAtMs)));
    }
    await Promise.all(calls);
  };
  await Promise.all(Array.from({ length: publishers }, one));
  return took;
};

interface Upkeep {
  /** The longest that each kind of statement took. */
  readonly longestMs: Readonly<Record<string, number>>;
  readonly done: Readonly<Record<string, number>>;
  /** Statements that gave up on a lock, to be tried again. */
  readonly gaveUp: number;
}

/** Over and over until told to stop: as the purger and the migrator do it, with time made to pass. */
const keepUp = async (sql: RawSql, signal: AbortSignal): Promise<Upkeep> => {
  const longestMs: Record<string, number> = {};
  const done: Record<string, number> = {};
  let gaveUp = 0;
  const step = async (name: string, statement: string): Promise<readonly Record<string, unknown>[]> => {
    const startedAtMs = performance.now();
    try {
      const rows = await sql.unsafe(statement);
      done[name] = (done[name] ?? 0) + 1;
      return rows;
    } catch (error) {
      // lock_not_available
      if (!(error instanceof Error && "code" in error && error.code === "55P03")) throw error;
      gaveUp += 1;
      return [];
    } finally {
      longestMs[name] = Math.max(longestMs[name] ?? 0, performance.now() - startedAtMs);
    }
  };
  await sql`set lock_timeout = '100ms'`;
  for (let round = 0; !signal.aborted; round += 1) {
    await step(
      "add a topic",
      `insert into pgstream.topics (name) values ('added.${round}') on conflict do nothing`,
    );
    await step("attach and settle", "select pgstream.prepare_segments()");
    await step("roll", "select pgstream.roll_segment('0 s', 0)");
    await step("take a tick", "select pgstream.tick()");
    await step(
      "announce",
      "select pgstream.announce_segment_purge(s.segment, s.floor) from pgstream.expired_segments('0 s') s limit 1",
    );
    await step("empty", "select pgstream.empty_segment(u.id) from pgstream.unfinished_purges() u");
    const [emptied] = await sql<{ name: string; attached: boolean; pending: boolean }[]>`
      select c.oid::regclass::text as name, i.inhrelid is not null as attached, coalesce(i.inhdetachpending, false) as pending
      from pgstream.segments s
      join pg_class c on c.oid = to_regclass('pgstream.events_' || s.segment)
      left join pg_inherits i on i.inhrelid = c.oid
      where s.emptied_at is not null order by s.segment limit 1`;
    if (emptied !== undefined) {
      const { name, attached, pending } = emptied;
      if (attached) {
        const how = pending ? "finalize" : "concurrently";
        await step("detach", `alter table pgstream.events detach partition ${name} ${how}`);
      } else await step("drop", `drop table ${name}`);
    }
    await sleep(100);
  }
  return { longestMs, done, gaveUp };
};

const measureUpkeep = async (context: BenchContext) => {
  const events = Math.max(80_000, Math.round(8_000_000 * Math.min(1, context.scale)));
  const ms = Math.max(4_000, 30_000 * Math.min(1, context.scale));
  await using database = await context.createDatabase();
  await using open = new AsyncDisposableStack();
  const session = (): RawSql =>
    open.adopt(openRaw(database.url, 1), async (it) => await it.end({ timeout: 1 }));
  const filler = session();
  await makeTopics(filler, "topic", 20);
  await filler`set synchronous_commit = off`;
  await liveThrough(filler, {
    segments,
    transactionsPerSegment: events / segments / 1_000,
    eventsPerTransaction: 1_000,
    topics: 20,
    data: "json_build_object('n', n, 'note', repeat(md5(n::text), 6))",
  });
  context.say(
    `  ${segments} segments of ${(events / segments).toLocaleString("en-US")} events to be emptied`,
  );
  const peace: number[] = [];
  const upkeep: number[] = [];
  const kept: Upkeep[] = [];
  for (let round = 0; round < context.rounds; round += 1) {
    await context.checkpoint();
    peace.push(quantileOf(await publishFor(database.url, ms, context.signal), 0.99));
    await context.checkpoint();
    const stopping = new AbortController();
    const keeping = keepUp(session(), stopping.signal);
    keeping.catch(() => {}); // it is waited for below
    upkeep.push(quantileOf(await publishFor(database.url, ms, context.signal), 0.99));
    stopping.abort();
    kept.push(await keeping);
    context.say(
      `  round ${round + 1}: p99 ${upkeep.at(-1)?.toFixed(2)} ms, ${peace.at(-1)?.toFixed(2)} ms in peace`,
    );
  }
  return { peace, upkeep, kept };
};

export const growthUpkeep: Measure = {
  name: "growth-upkeep",
  about: "publish p99 while segments are emptied, removed and rolled and topics are added",
  run: async (context) => {
    const { peace, upkeep, kept } = await measureUpkeep(context);
    const middle = (values: readonly number[]): number => quantileOf(values, 0.5);
    return {
      rows: [
        rowOfFigure({
          measure: "publish p99 while segments are emptied, removed and rolled",
          unit: "ms",
          value: middle(upkeep),
          beside: { value: middle(peace), is: "p99 without" },
          details: { ratePerSecond: 1_000 / intervalMs, upkeep, peace, kept },
        }),
      ],
    };
  },
};
