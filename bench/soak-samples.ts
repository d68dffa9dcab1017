//! What is looked at every few seconds of a soak, and whether it stayed flat.

import { readFile } from "node:fs/promises";

import { max, median, min } from "simple-statistics";

import type { Goal, Row, Summary } from "./context.ts";
import type { RawSql } from "./raw-table.ts";

/** Figures of one moment, by name. */
export interface Sample {
  readonly seconds: number;
  readonly figures: Readonly<Record<string, number>>;
}

export interface Series {
  /** In {@link Sample.figures}. */
  readonly name: string;
  readonly about: string;
  readonly unit: Row["unit"];
  /** The panel of the picture that it is drawn in. */
  readonly panel: string;
  /**
   * `typical`: the middle of a stretch is compared; `peak`: its greatest, for what goes up and down as segments come and
   * go; null: shown, not judged.
   */
  readonly judgedBy: "typical" | "peak" | null;
  /** What it may grow by all the same. */
  readonly slack: number;
}

const mega = 2 ** 20;

export const allSeries: readonly Series[] = [
  {
    name: "publisher",
    about: "memory of the publisher",
    unit: "MB",
    panel: "memory, MB",
    judgedBy: "typical",
    slack: 10,
  },
  {
    name: "subscriber",
    about: "memory of the subscriber",
    unit: "MB",
    panel: "memory, MB",
    judgedBy: "typical",
    slack: 10,
  },
  {
    name: "purger",
    about: "memory of the purger",
    unit: "MB",
    panel: "memory, MB",
    judgedBy: "typical",
    slack: 10,
  },
  {
    name: "connections",
    about: "connections",
    unit: "count",
    panel: "connections",
    judgedBy: "peak",
    slack: 1,
  },
  { name: "table", about: "events, table", unit: "MB", panel: "disk, MB", judgedBy: "peak", slack: 2 },
  { name: "indexes", about: "events, indexes", unit: "MB", panel: "disk, MB", judgedBy: "peak", slack: 1 },
  {
    name: "others",
    about: "everything else of the log",
    unit: "MB",
    panel: "disk, MB",
    judgedBy: "peak",
    slack: 1,
  },
  {
    name: "dead",
    about: "dead tuples, but for events",
    unit: "count",
    panel: "dead tuples",
    judgedBy: "peak",
    slack: 2_000,
  },
  {
    name: "ticks",
    about: "ticks kept",
    unit: "count",
    panel: "ticks and segments",
    judgedBy: "peak",
    slack: 5,
  },
  {
    name: "segments",
    about: "segments attached",
    unit: "count",
    panel: "ticks and segments",
    judgedBy: "peak",
    slack: 3,
  },
  {
    name: "keys",
    about: "idempotency keys kept",
    unit: "count",
    panel: "idempotency keys",
    judgedBy: "peak",
    slack: 1_000,
  },
  {
    name: "behind",
    about: "events not handled yet",
    unit: "count",
    panel: "events not handled yet",
    judgedBy: null,
    slack: 0,
  },
  {
    name: "purges",
    about: "purges remembered",
    unit: "count",
    panel: "purges remembered",
    judgedBy: null,
    slack: 0,
  },
];

/** The process's memory as the operating system sees it, in MB; 0 when it has ended. */
export const rssMbOf = async (pid: number): Promise<number> => {
  if (process.platform === "linux") {
    try {
      const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, "utf8")) ?? [];
      return Number(kilobytes ?? 0) / 1_024;
    } catch {
      return 0;
    }
  }
  const ps = Bun.spawn(["ps", "-o", "rss=", "-p", String(pid)], { stdout: "pipe", stderr: "ignore" });
  return Number((await ps.stdout.text()).trim()) / 1_024;
};

/** @param sql of the log's database, as its owner */
export const databaseFigures = async (sql: RawSql): Promise<Readonly<Record<string, number>>> => {
  const [row] = await sql<Record<string, number>[]>`
    select
      (select count(*)::integer from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid())
        as connections,
      (select coalesce(sum(pg_table_size(inhrelid)), 0)::float8 / ${mega}
       from pg_inherits where inhparent = 'pgstream.events'::regclass) as table,
      (select coalesce(sum(pg_indexes_size(inhrelid)), 0)::float8 / ${mega}
       from pg_inherits where inhparent = 'pgstream.events'::regclass) as indexes,
      (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 / ${mega}
       from pg_class c where c.relnamespace = 'pgstream'::regnamespace and c.relkind = 'r' and not c.relispartition
         and c.relname !~ '^events_[0-9]+$' and c.relname not in ('purges', 'purged_topics')) as others,
      (select coalesce(sum(n_dead_tup), 0)::integer from pg_stat_user_tables
       where schemaname = 'pgstream' and relname !~ '^events_[0-9]+$') as dead,
      (select count(*)::integer from pgstream.ticks) as ticks,
      (select count(*)::integer from pg_inherits where inhparent = 'pgstream.events'::regclass) as segments,
      (select count(*)::integer from pgstream.idempotency_keys) as keys,
      (select count(*)::integer from pgstream.purges) as purges`;
  return row ?? {};
};

const valuesOf = (samples: readonly Sample[], name: string): readonly number[] =>
  samples.map(({ figures }) => figures[name] ?? Number.NaN).filter((value) => !Number.isNaN(value));

const summaryOf = (values: readonly number[]): Summary => ({
  value: median([...values]),
  min: min([...values]),
  max: max([...values]),
});

const judge = ({ judgedBy, slack }: Series, middle: Summary, last: Summary): Goal | null => {
  if (judgedBy === null) return null;
  const [before, after] = judgedBy === "peak" ? [middle.max, last.max] : [middle.value, last.value];
  return { text: "flat", isReached: after <= before * 1.1 + slack };
};

/** The last third beside the one before it; the first is for filling up. */
export const rowsOfSamples = (samples: readonly Sample[]): readonly Row[] => {
  const third = Math.floor(samples.length / 3);
  const [middle, last] = [samples.slice(third, 2 * third), samples.slice(2 * third)];
  return allSeries.flatMap((series) => {
    const [before, after] = [valuesOf(middle, series.name), valuesOf(last, series.name)];
    if (before.length === 0 || after.length === 0) return [];
    const [limit, pgstream] = [summaryOf(before), summaryOf(after)];
    return {
      measure: `soak: ${series.about}`,
      unit: series.unit,
      pgstream,
      limit,
      limitIs: "the third before",
      ratio: null,
      must: judge(series, limit, pgstream),
      wanted: null,
      usage: null,
      limitUsage: null,
      details: {},
    };
  });
};
