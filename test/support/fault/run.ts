//! One run of the fault test: writers, disturbances and readers together, for a while; then everything ends and drains.

import postgres from "postgres";

import type { PostgresTarget } from "../../../src/adapters/postgres/client.ts";
import type { Log } from "../../../src/core/log.ts";
import { type DisturbanceOptions, disturbances, foreignTransactions } from "./disturbances.ts";
import { runTogether } from "./followers.ts";
import { type History, judge, makeHistory, type Verdict } from "./history.ts";
import { type ReaderOptions, runNaiveReader, runReader, runXidReader } from "./readers.ts";
import { runWriter } from "./writers.ts";

export interface FaultRun {
  readonly url: string;
  /** Another database of the same server. */
  readonly foreignUrl: string;
  readonly random: () => number;
  readonly durationMs: number;
  readonly writers: number;
  readonly readers: number;
  /** Plants a bug into the readers. */
  readonly spoil?: (log: Log, sql: postgres.Sql) => Log;
  /** Something else that goes on, such as ticks taken the wrong way. */
  readonly alsoRun?: (sql: postgres.Sql, options: DisturbanceOptions) => Promise<void>;
  /** Adds readers that share a tail, with the settings that are shipped and with small ones. */
  readonly together: boolean;
  /** Adds the readers that others would build: by highest id, and by xid. */
  readonly compare: boolean;
}

export interface FaultResult {
  readonly history: History;
  /** All that read by windows, `shipped` included. */
  readonly readers: readonly Verdict[];
  readonly together: readonly Verdict[];
  /** The one with the settings that are shipped. */
  readonly shipped: Verdict;
  readonly naive: Verdict | null;
  readonly byXid: Verdict | null;
  /** Events in the table at the end, counted by the database itself. */
  readonly stored: number;
}

const keys = 8;
const topics = 5;

export const runFaults = async (run: FaultRun): Promise<FaultResult> => {
  await using open = new AsyncDisposableStack();
  const connect = (url: string, max: number): postgres.Sql =>
    open.adopt(
      postgres(url, { max, fetch_types: false, onnotice: () => {} }),
      async (sql) => await sql.end({ timeout: 5 }),
    );
  const sql = connect(run.url, 14);
  const foreign = connect(run.foreignUrl, 1);
  await sql`create table if not exists counters (key text primary key, n integer not null default 0)`;
  await sql`insert into counters (key) select 'k' || g from generate_series(0, ${keys - 1}) g on conflict do nothing`;
  // Two transactions that each make two topics, in opposite orders, would wait for each other.
  await sql`insert into pgstream.topics (name) select 't' || g from generate_series(0, ${topics - 1}) g on conflict do nothing`;

  const history = makeHistory();
  const { random } = run;
  const endsAt = performance.now() + run.durationMs;
  const isOver = (): boolean => performance.now() >= endsAt;
  let areWritersDone = false;
  // The length of a run and the pauses inside transactions make the interleavings; nothing is asserted about time.
  const pause = async (msMax: number): Promise<void> => await Bun.sleep(random() * msMax);
  const target: PostgresTarget = { url: run.url, tls: "off", ca: null };
  const reading: ReaderOptions = {
    isSteady: false,
    target,
    history,
    random,
    pause,
    sql,
    isOver: () => areWritersDone,
    ...(run.spoil === undefined ? {} : { spoil: run.spoil }),
  };

  // A connection each: `begin` and `commit` are statements of their own here.
  const write = async (worker: number): Promise<void> =>
    await runWriter(connect(run.url, 1), worker, { history, random, keys, topics, isOver, pause });
  const writing = Promise.all([
    ...Array.from({ length: run.writers }, async (_, worker) => await write(worker)),
    ...disturbances.map(async (disturb) => await disturb(sql, { history, random, isOver, pause })),
    foreignTransactions(foreign, { history, random, isOver, pause }),
    run.alsoRun?.(connect(run.url, 1), { history, random, isOver, pause }),
  ]).finally(() => {
    areWritersDone = true;
  });
  const readers = Array.from({ length: run.readers }, async () => judge(history, await runReader(reading)));
  const steady = async (): Promise<Verdict> =>
    judge(history, await runReader({ ...reading, isSteady: true }));
  const judged = async (followers: number, isSteady: boolean): Promise<Verdict[]> =>
    (await runTogether(followers, { ...reading, isSteady })).map((delivered) => judge(history, delivered));
  const [shipped, verdicts, together, naive, byXid] = await Promise.all([
    steady(),
    Promise.all(readers),
    run.together ? Promise.all([judged(1, true), judged(3, false)]) : [],
    run.compare ? runNaiveReader(reading) : null,
    run.compare ? runXidReader(reading) : null,
    writing,
  ]);
  const [row] = await sql<{ stored: string }[]>`select count(*) as stored from pgstream.events`;
  return {
    history,
    shipped,
    readers: [shipped, ...verdicts],
    together: together.flat(),
    naive: naive === null ? null : judge(history, naive),
    byXid: byXid === null ? null : judge(history, byXid),
    stored: Number(row?.stored),
  };
};
