//! One run of the fault test: writers, disturbances and readers together, for a while; then everything ends and drains.

import postgres from "postgres";

import type { PostgresTarget } from "../../../src/adapters/postgres/client.ts";
import type { Log } from "../../../src/core/log.ts";
import { type DisturbanceOptions, disturbances, foreignTransactions, killSessions } from "./disturbances.ts";
import { runTogether } from "./followers.ts";
import { type Delivered, type History, judge, makeHistory, type Verdict } from "./history.ts";
import { type Audit, auditPublished, publishLast, type PublisherRun, runPublisher } from "./publishers.ts";
import { type ReaderOptions, runNaiveReader, runReader, runXidReader } from "./readers.ts";
import { runSubscription, untilAtRest } from "./subscriptions.ts";
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
  /**
   * Adds all fast paths: publishers of the library, subscriptions of the library that only their hints wake, and readers
   * that share a tail, with the settings that are shipped and with small ones.
   */
  readonly fastPaths: boolean;
  /** Adds the readers that others would build: by highest id, and by xid. */
  readonly compare: boolean;
}

export interface FaultResult {
  readonly history: History;
  /** All that read by windows, first the one with the settings that are shipped. */
  readonly readers: readonly Verdict[];
  /** Those with the settings that are shipped first, as of the subscriptions. */
  readonly together: readonly Verdict[];
  readonly subscriptions: readonly Verdict[];
  readonly naive: Verdict | null;
  readonly byXid: Verdict | null;
  readonly audit: Audit;
  /** Events in the table at the end, counted by the database itself. */
  readonly stored: number;
}

const keys = 8;
const topics = 5;
const publishers = 2;
const rollsMax = 15;

interface Connections {
  /** For whoever needs one for a statement. */
  readonly sql: postgres.Sql;
  /** Opens some that end with the run. */
  readonly connect: (url: string, max: number) => postgres.Sql;
}

const prepare = async (sql: postgres.Sql): Promise<void> => {
  // Under fire a new segment is not rolled into for a minute: somebody always looks. These are settled before anybody does.
  await sql`
    select pgstream.attach_segment(n) from generate_series(1, ${rollsMax}) n
    where n not in (select segment from pgstream.segments)`;
  await sql`select pgstream.prepare_segments()`;
  await sql`create table if not exists counters (key text primary key, n integer not null default 0)`;
  await sql`insert into counters (key) select 'k' || g from generate_series(0, ${keys - 1}) g on conflict do nothing`;
  // Two transactions that each make two topics, in opposite orders, would wait for each other.
  await sql`insert into pgstream.topics (name) select 't' || g from generate_series(0, ${topics - 1}) g on conflict do nothing`;
};

/** What the library's subscriptions have handled: the first has the settings that are shipped. */
type Handled = readonly [Delivered[], Delivered[], Delivered[]];

/** Everything that writes, until it is over; resolves when the last of it has been committed. */
const writeAll = async (
  run: FaultRun,
  { sql, connect }: Connections,
  options: DisturbanceOptions,
  handled: Handled,
): Promise<void> => {
  const writer: PublisherRun = { ...options, url: run.url, keys, topics };
  await Promise.all([
    // A connection each: `begin` and `commit` are statements of their own here.
    ...Array.from({ length: run.writers }, async (_, worker) => {
      await runWriter(connect(run.url, 1), worker, writer);
    }),
    ...disturbances.map(async (disturb) => await disturb(sql, options)),
    foreignTransactions(connect(run.foreignUrl, 1), options),
    run.alsoRun?.(connect(run.url, 1), options),
    ...(run.fastPaths
      ? [
          killSessions(sql, options),
          ...Array.from({ length: publishers }, async (_, n) => await runPublisher(`publisher${n}`, writer)),
        ]
      : []),
  ]);
  if (!run.fastPaths) return;
  // The first hint brings whatever was published without one. The second has to wake who is at rest.
  await publishLast(writer);
  await untilAtRest(sql, options.history, handled);
  await publishLast(writer);
};

/** Everything that reads, until it has read all. */
const readAll = async (
  run: FaultRun,
  reading: ReaderOptions,
  isEnding: () => boolean,
  handled: Handled,
): Promise<Omit<FaultResult, "history" | "audit" | "stored">> => {
  const judged = async (read: Promise<Delivered[]>): Promise<Verdict> => judge(reading.history, await read);
  const steady = { ...reading, isSteady: true };
  const together = async (followers: number, options: ReaderOptions): Promise<Verdict[]> =>
    (await runTogether(followers, options)).map((delivered) => judge(reading.history, delivered));
  const [readers, followers, subscriptions, naive, byXid] = await Promise.all([
    Promise.all([
      judged(runReader(steady)),
      ...Array.from({ length: run.readers }, async () => await judged(runReader(reading))),
    ]),
    run.fastPaths ? Promise.all([together(1, steady), together(3, reading)]) : [],
    run.fastPaths
      ? Promise.all(
          handled.map(async (delivered, n) => {
            const options = { ...reading, isSteady: n === 0, isEnding, delivered };
            return await judged(runSubscription(options));
          }),
        )
      : [],
    run.compare ? judged(runNaiveReader(reading)) : null,
    run.compare ? judged(runXidReader(reading)) : null,
  ]);
  return { readers, together: followers.flat(), subscriptions, naive, byXid };
};

export const runFaults = async (run: FaultRun): Promise<FaultResult> => {
  await using open = new AsyncDisposableStack();
  const connect: Connections["connect"] = (url, max) =>
    open.adopt(
      postgres(url, { max, fetch_types: false, onnotice: () => {} }),
      async (sql) => await sql.end({ timeout: 5 }),
    );
  const sql = connect(run.url, 14);
  await prepare(sql);

  const history = makeHistory();
  const { random } = run;
  const endsAt = performance.now() + run.durationMs;
  const isOver = (): boolean => performance.now() >= endsAt;
  let areWritersDone = false;
  // The length of a run and the pauses inside transactions make the interleavings; nothing is asserted about time.
  const pause = async (msMax: number): Promise<void> => await Bun.sleep(random() * msMax);
  const target: PostgresTarget = { url: run.url, tls: "off", ca: null };
  const handled: Handled = [[], [], []];
  const writing = writeAll(run, { sql, connect }, { history, random, isOver, pause }, handled).finally(() => {
    areWritersDone = true;
  });
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
  const [verdicts] = await Promise.all([readAll(run, reading, isOver, handled), writing]);
  const [row] = await sql<{ stored: string }[]>`select count(*) as stored from pgstream.events`;
  return { ...verdicts, history, audit: await auditPublished(sql, history), stored: Number(row?.stored) };
};
