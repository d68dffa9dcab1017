//! A day compressed into a while: events are published, handled and purged at a steady rate, segments roll and go, and
//! whatever could creep up is looked at every few seconds. Every event must come, once and in order.

import { setTimeout as sleep } from "node:timers/promises";

import { type BenchContext, DeliveryError, type Measure } from "./context.ts";
import { topicNames } from "./events.ts";
import { startSubscriber, type SubscriberProcess } from "./growth/subscriber-process.ts";
import { openRaw, type RawSql } from "./raw-table.ts";
import {
  runRole,
  type RoleProcess,
  type SoakPublisher,
  startRole,
  startSoakPublisher,
} from "./soak-processes.ts";
import { databaseFigures, rowsOfSamples, rssMbOf, type Sample } from "./soak-samples.ts";

const ratePerSecond = 2_000;
/** At least, and one a minute. */
const samplesWanted = 240;
const sampleMsMax = 60_000;
const tellEveryMs = 60_000;
const removalsWanted = 12;

/** A week and a day, in the proportions of the defaults, for the time that there is. */
const timesFor = (soakMs: number) => {
  const retentionMs = Math.max(3_000, Math.round(soakMs / 20));
  return {
    retentionMs,
    segmentMs: Math.max(1_000, Math.round(retentionMs / 3)),
    windowMs: Math.max(2_000, Math.round(retentionMs / 2)),
    sampleMs: Math.min(sampleMsMax, Math.max(500, Math.round(soakMs / samplesWanted))),
    // Autovacuum looks once a minute by default.
    vacuumSeconds: Math.min(60, Math.max(1, Math.round(soakMs / 60_000))),
    removalMs: Math.max(5_000, Math.round(soakMs / removalsWanted)),
  };
};

type Settings = Readonly<Record<string, string>>;

/** What the migrator is given, each time: it writes the window into the log's settings. */
const settingsOf = (soakMs: number): Settings => ({
  IDEMPOTENCY_WINDOW: `${timesFor(soakMs).windowMs}ms`,
});

interface Cast {
  readonly publisher: SoakPublisher;
  readonly subscriber: SubscriberProcess;
  readonly purger: RoleProcess;
}

const sampleOf = async (
  sql: RawSql,
  { publisher, subscriber, purger }: Cast,
  seconds: number,
): Promise<Sample> => {
  const [ofPublisher, ofSubscriber, ofPurger] = await Promise.all(
    [publisher, subscriber, purger].map(async ({ pid }) => await rssMbOf(pid)),
  );
  const handled = subscriber.places.at(-1)?.events ?? 0;
  return {
    seconds,
    figures: {
      publisher: ofPublisher ?? 0,
      subscriber: ofSubscriber ?? 0,
      purger: ofPurger ?? 0,
      ...(await databaseFigures(sql)),
      behind: Math.max(0, publisher.published() - handled),
    },
  };
};

/** A setting of the whole server, until disposed of. */
const setOnServer = async (adminUrl: string, name: string, value: string): Promise<AsyncDisposable> => {
  const sql = openRaw(adminUrl, 1);
  await sql.unsafe(`alter system set ${name} = '${value}'`);
  await sql`select pg_reload_conf()`;
  return {
    [Symbol.asyncDispose]: async () => {
      await sql.unsafe(`alter system reset ${name}`);
      await sql`select pg_reload_conf()`;
      await sql.end({ timeout: 1 });
    },
  };
};

/** Segments that were emptied an hour ago are removed whenever the migrator starts; an hour passes faster here. */
const removeEmptied = async (sql: RawSql, database: string, settings: Settings): Promise<void> => {
  await sql`update pgstream.segments set emptied_at = emptied_at - interval '1 hour' where emptied_at is not null`;
  await runRole("migrator", database, settings);
};

const watch = async (
  context: BenchContext,
  sql: RawSql,
  database: string,
  cast: Cast,
): Promise<readonly Sample[]> => {
  const { soakMs, say, signal } = context;
  const { sampleMs, removalMs } = timesFor(soakMs ?? 0);
  const samples: Sample[] = [];
  const startedAtMs = performance.now();
  let removedAtMs = startedAtMs;
  let removing: Promise<void> = Promise.resolve();
  for (let n = 1; performance.now() - startedAtMs < (soakMs ?? 0); n += 1) {
    await sleep(Math.max(0, startedAtMs + n * sampleMs - performance.now()));
    signal.throwIfAborted();
    const sample = await sampleOf(sql, cast, (performance.now() - startedAtMs) / 1_000);
    samples.push(sample);
    if (n % Math.min(10, Math.floor(tellEveryMs / sampleMs)) === 0) {
      const { table = 0, segments = 0, subscriber = 0, behind = 0 } = sample.figures;
      say(
        `  ${Math.round(sample.seconds)} s: ${cast.publisher.published().toLocaleString("en-US")} events, table ${Math.round(table)} MB, ${segments} segments, subscriber ${Math.round(subscriber)} MB, ${behind} behind`,
      );
    }
    if (performance.now() - removedAtMs >= removalMs) {
      removedAtMs = performance.now();
      await removing;
      removing = removeEmptied(sql, database, settingsOf(soakMs ?? 0));
      removing.catch(() => {}); // it is waited for
    }
  }
  await removing;
  return samples;
};

const soakFor = async (context: BenchContext): Promise<readonly Sample[]> => {
  const { retentionMs, segmentMs, vacuumSeconds } = timesFor(context.soakMs ?? 0);
  await using database = await context.createDatabase();
  await using _ = await setOnServer(context.adminUrl, "autovacuum_naptime", `${vacuumSeconds}s`);
  await using open = new AsyncDisposableStack();
  const sql = open.adopt(openRaw(database.url, 1), async (it) => await it.end({ timeout: 1 }));
  await runRole("migrator", database.url, settingsOf(context.soakMs ?? 0));
  await sql`insert into pgstream.topics (name) select unnest(string_to_array(${topicNames.join(",")}, ','))`;
  const purger = open.use(
    startRole("purger", database.url, {
      RETENTION: `${retentionMs}ms`,
      SEGMENT_INTERVAL: `${segmentMs}ms`,
      PURGE_SCHEDULE: "* * * * * *",
    }),
  );
  const subscriber = open.use(
    await startSubscriber({
      database: database.url,
      topics: [">"],
      since: null,
      from: "latest",
      stopAfter: null,
      tellEvery: ratePerSecond / 10,
    }),
  );
  const publisher = open.use(startSoakPublisher({ database: database.url, ratePerSecond }));
  const samples = await watch(context, sql, database.url, { publisher, subscriber, purger });
  const published = await publisher.stop();
  await Promise.race([subscriber.reaches(published - ratePerSecond / 10), sleep(30_000)]);
  // What it has told of may be a little less than what it has handled.
  await sleep(1_000);
  subscriber.stop();
  const { events, backwards } = await subscriber.end;
  if (events !== published || backwards > 0) {
    throw new DeliveryError(`${events} of ${published} events came, ${backwards} out of order`);
  }
  context.say(`  ${published.toLocaleString("en-US")} events published and handled`);
  return samples;
};

export const soak: Measure = {
  name: "soak",
  about: "a day compressed: published, handled and purged at a steady rate, and nothing creeps up",
  run: async (context) => {
    const samples = await soakFor(context);
    const [first, ...rest] = rowsOfSamples(samples);
    if (first === undefined) throw new Error("a soak of so few seconds shows nothing: give it 30s at least");
    // Loaded last: the drawing library is none of what is measured.
    const { drawSoak } = await import("./soak-chart.ts");
    return {
      rows: [{ ...first, details: { ratePerSecond, ...timesFor(context.soakMs ?? 0), samples } }, ...rest],
      pictures: drawSoak(samples),
    };
  },
};
