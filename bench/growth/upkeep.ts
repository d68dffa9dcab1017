//! What publishers feel of the log's upkeep: segments full of events are counted, emptied and removed, the log rolls on, and
//! topics are added, over and over, while events are published at a steady rate; beside the same rate left in peace.

import { setTimeout as sleep } from "node:timers/promises";

import { openPublisher } from "../../src/library/publisher.ts";
import { liveThrough, makeTopics } from "../../test/support/growth-log.ts";
import { type BenchContext, type Measure, type Row, scaled } from "../context.ts";
import { quantileOf, type Question, rowOf, takeTurns, type Turn } from "../figures.ts";
import { openRaw, type RawSql } from "../raw-table.ts";
import { keepUp, lockTimeoutMs, type Upkeep } from "./keep-up.ts";
import { type LockWaits, lookEveryMs, startLockWatch } from "./lock-waits.ts";
import { atMost, rowOfFigure } from "./rows.ts";

const publishers = 4;
const intervalMs = 5;
const segments = 4;
const segmentEventsFull = 1_000_000;
const fullMs = 30_000;
const shortestMs = 600;

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

/** Where the large segments of a round are. */
interface Filled {
  readonly first: number;
  readonly last: number;
}

/** Fills segments beyond those that there are: every round has as much to empty. */
const fill = async (sql: RawSql, segmentEvents: number): Promise<Filled> => {
  const [row] = await sql<{ current: number }[]>`select pgstream.current_segment() as current`;
  const first = (row?.current ?? 0) + 1;
  await liveThrough(sql, {
    firstSegment: first,
    segments,
    transactionsPerSegment: segmentEvents / 1_000,
    eventsPerTransaction: 1_000,
    topics: 20,
    data: "json_build_object('n', n, 'note', repeat(md5(n::text), 6))",
  });
  return { first, last: first + segments - 1 };
};

const pidOf = async (sql: RawSql): Promise<number> => {
  const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  return row?.pid ?? 0;
};

interface Stretch {
  readonly turn: Turn;
  readonly lockWaits: LockWaits;
  readonly upkeep: Upkeep | null;
}

/** Publishes for a while, with upkeep beside it or in peace; locks are looked at in both, so that the looks cost both. */
const publishBeside = async (
  context: BenchContext,
  database: string,
  ms: number,
  upkeepOf: string | null,
): Promise<Stretch> => {
  await using open = new AsyncDisposableStack();
  const session = (): RawSql => open.adopt(openRaw(database, 1), async (it) => await it.end({ timeout: 1 }));
  const keeper = session();
  const pid = await pidOf(keeper);
  const stopping = new AbortController();
  const meter = await context.startMeter();
  const locks = startLockWatch(session(), pid, stopping.signal);
  const beside = Promise.all([
    upkeepOf === null ? null : keepUp(keeper, upkeepOf, stopping.signal),
    locks.done,
  ]);
  beside.catch(() => {}); // it is waited for below
  const took = await publishFor(database, ms, context.signal);
  const turn = { value: quantileOf(took, 0.99), usage: await meter.read(), amount: took.length };
  stopping.abort();
  const [upkeep] = await beside;
  return { turn, lockWaits: locks.longest(), upkeep };
};

const measureUpkeep = async (context: BenchContext): Promise<readonly Row[]> => {
  const scale = Math.min(1, context.scale);
  const segmentEvents = scaled({ scale }, segmentEventsFull, 1_000);
  const ms = Math.max(shortestMs, fullMs * scale);
  await using database = await context.createDatabase();
  await using open = new AsyncDisposableStack();
  const filler = open.adopt(openRaw(database.url, 1), async (it) => await it.end({ timeout: 1 }));
  await makeTopics(filler, "topic", 20);
  await filler`set synchronous_commit = off`;
  const rounds: {
    readonly emptied: number;
    readonly upkeep: Upkeep | null;
    readonly lockWaits: LockWaits;
  }[] = [];
  let filled: Filled = { first: 0, last: 0 };
  const besideUpkeep = async (round: number): Promise<Turn> => {
    const { turn, ...rest } = await publishBeside(context, database.url, ms, `round-${round}`);
    const { first, last } = filled;
    const [row] = await filler<{ n: number }[]>`
      select count(*)::integer as n from pgstream.segments
      where segment between ${first} and ${last} and emptied_at is not null`;
    rounds.push({ emptied: row?.n ?? 0, ...rest });
    return turn;
  };
  const inPeace = async (): Promise<Turn> => (await publishBeside(context, database.url, ms, null)).turn;
  const [upkeep, peace] = await takeTurns(
    context,
    [
      { name: "p99 in ms beside upkeep", run: besideUpkeep },
      { name: "p99 in ms in peace", run: inPeace },
    ],
    async () => {
      filled = await fill(filler, segmentEvents);
      context.say(`  ${segments} segments of ${segmentEvents.toLocaleString("en-US")} events to be emptied`);
    },
  );
  const question: Question = {
    measure: "publish p99 while segments are emptied, removed and rolled",
    unit: "ms",
    limitIs: "p99 without",
    must: null,
    wanted: null,
    details: { ratePerSecond: 1_000 / intervalMs, segments, segmentEvents, upkeep: rounds },
  };
  const lockWait = rowOfFigure({
    measure: `longest wait of upkeep for a lock, looked at every ${lookEveryMs} ms`,
    unit: "ms",
    value: Math.max(...rounds.map(({ lockWaits }) => lockWaits.own)),
    // It gives up then; a wait may be seen while it does.
    must: atMost(lockTimeoutMs + lookEveryMs, "ms"),
    details: { lockTimeoutMs, rounds: rounds.map(({ lockWaits }) => lockWaits) },
  });
  return [rowOf(question, upkeep, peace), lockWait];
};

export const growthUpkeep: Measure = {
  name: "growth-upkeep",
  about: "publish p99 while segments are emptied, removed and rolled and topics are added",
  run: async (context) => ({ rows: await measureUpkeep(context) }),
};
