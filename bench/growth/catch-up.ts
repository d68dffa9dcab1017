//! A log of many millions, read from its first event to its last: one rate from the first tenth to the last. One rare topic
//! of ten thousand, picked out of it. And what it takes on the disk.

import { openSubscription } from "../../src/library/subscription.ts";
import { type BenchContext, DeliveryError, type Measure, type Row } from "../context.ts";
import { openRaw } from "../raw-table.ts";
import { eventsWanted, type GrownLog, growLog, topicName } from "./grown-log.ts";
import { atMost, rowOfFigure } from "./rows.ts";

const topics = 10_000;
const stretches = 10;
const rareTopic = topicName(4_321);

interface Passing {
  /** When each stretch had been handled, from the start. */
  readonly seconds: readonly number[];
  readonly events: number;
}

interface Passage {
  readonly database: string;
  readonly pattern: string;
  readonly expected: number;
  /** Told when a stretch has been handled, of those before it, too. */
  readonly onStretch?: (seconds: readonly number[]) => void;
}

/** Reads the topics to the end of the log; checks that every event comes, and comes once. */
const passThrough = async (
  { signal }: BenchContext,
  { database, pattern, expected, onStretch = () => {} }: Passage,
): Promise<Passing> => {
  const finished = Promise.withResolvers<void>();
  const seen = new Map<number, Uint8Array>();
  const seconds: number[] = [];
  let events = 0;
  let cursor: string | null = null;
  const mark = (id: bigint): void => {
    const segment = Number(id >> 32n);
    const at = Number(id & 0xff_ff_ff_ffn);
    let bits = seen.get(segment) ?? new Uint8Array(1 << 16);
    if (at >> 3 >= bits.length) {
      const larger = new Uint8Array(Math.max(bits.length * 2, (at >> 3) + 1));
      larger.set(bits);
      bits = larger;
    }
    seen.set(segment, bits);
    const bit = 1 << (at & 7);
    if (((bits[at >> 3] ?? 0) & bit) !== 0) throw new DeliveryError(`event ${id} came twice`);
    bits[at >> 3] = (bits[at >> 3] ?? 0) | bit;
  };
  const startedAtMs = performance.now();
  const subscription = openSubscription({
    database,
    topics: [pattern],
    from: "earliest",
    cursor: async () => await Promise.resolve(cursor),
    handle: async (batch, context) => {
      try {
        for (const event of batch) {
          mark(event.id);
          if (event.data === undefined) throw new DeliveryError(`event ${event.id} carries nothing`);
        }
      } catch (error) {
        finished.reject(error);
        return;
      }
      events += batch.length;
      ({ cursor } = context);
      while (events >= ((seconds.length + 1) * expected) / stretches && seconds.length < stretches) {
        seconds.push((performance.now() - startedAtMs) / 1_000);
        onStretch(seconds);
      }
      if (events >= expected) finished.resolve();
      await Promise.resolve();
    },
  });
  await using _ = subscription;
  await Promise.race([finished.promise, subscription.done]);
  signal.throwIfAborted();
  if (events !== expected) throw new DeliveryError(`${events} of ${expected} events came`);
  return { seconds, events };
};

const measureRate = async (context: BenchContext, database: string, { events }: GrownLog): Promise<Row> => {
  const rates: number[] = [];
  const onStretch = (seconds: readonly number[]): void => {
    const rate = events / stretches / ((seconds.at(-1) ?? 0) - (seconds.at(-2) ?? 0));
    rates.push(rate);
    context.say(`  tenth ${rates.length}: ${Math.round(rate).toLocaleString("en-US")} events/s`);
  };
  const meter = await context.startMeter();
  const { seconds } = await passThrough(context, { database, pattern: ">", expected: events, onStretch });
  const usage = await meter.read();
  const rateOf = (first: number, last: number): number =>
    ((last - first) * events) / stretches / ((seconds[last - 1] ?? 0) - (seconds[first - 1] ?? 0));
  // The first tenth has the start in it, and code that is not warm yet.
  return rowOfFigure({
    measure: `catch-up, last three tenths of ${events.toLocaleString("en-US")} events`,
    unit: "events/s",
    value: rateOf(7, 10),
    beside: { value: rateOf(1, 4), is: "its second to fourth tenth" },
    must: (_, ratio) => ({ text: "0.9 ×", isReached: ratio >= 0.9 }),
    usage,
    details: { events, rates, eventsPerSecond: events / (seconds.at(-1) ?? Number.NaN) },
  });
};

const measureRareTopic = async (
  context: BenchContext,
  database: string,
  { events }: GrownLog,
): Promise<Row> => {
  const sql = openRaw(database, 1);
  const [row] = await sql<{ n: number }[]>`
    select count(*)::integer as n from pgstream.events e join pgstream.topics t on t.id = e.topic_id where t.name = ${rareTopic}`;
  await sql.end({ timeout: 1 });
  const own = row?.n ?? 0;
  const { seconds } = await passThrough(context, { database, pattern: rareTopic, expected: own });
  return rowOfFigure({
    measure: `one topic of ${topics.toLocaleString("en-US")} in ${events.toLocaleString("en-US")} events`,
    unit: "s",
    value: seconds.at(-1) ?? Number.NaN,
    must: atMost(10, "s"),
    details: { events, ownEvents: own },
  });
};

const measureDisk = async (database: string, { events }: GrownLog): Promise<Row> => {
  const sql = openRaw(database, 1);
  const [row] = await sql<{ heap: number; indexes: number; raw: number }[]>`
    select sum(pg_table_size(i.inhrelid))::float8 as heap, sum(pg_indexes_size(i.inhrelid))::float8 as indexes,
      (select avg(octet_length(e.data::text) + coalesce(octet_length(e.key), 0) + coalesce(octet_length(e.type), 0))::float8
       from (select * from pgstream.events limit 10000) e) as raw
    from pg_inherits i where i.inhparent = 'pgstream.events'::regclass`;
  await sql.end({ timeout: 1 });
  const { heap = 0, indexes = 0, raw = 0 } = row ?? {};
  return rowOfFigure({
    measure: "disk, one event with its share of the indexes",
    unit: "bytes",
    value: (heap + indexes) / events,
    beside: { value: raw, is: "its data, key and type alone" },
    details: { events, tableBytes: heap / events, indexBytes: indexes / events, rawBytes: raw },
  });
};

export const growthCatchUp: Measure = {
  name: "growth-catch-up",
  about: "millions of events read at one rate, a rare topic among 10,000, bytes on disk",
  run: async (context) => {
    await using database = await context.createDatabase();
    const log = await growLog(context, database.url, { events: eventsWanted(context), segments: 8, topics });
    await context.checkpoint();
    return {
      rows: [
        await measureRate(context, database.url, log),
        await measureRareTopic(context, database.url, log),
        await measureDisk(database.url, log),
      ],
    };
  },
};
