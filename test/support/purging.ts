//! A log to purge: a database with the log in it, a purger's port on it, and ways to make time pass in it.

import postgres from "postgres";

import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import { makePurging } from "../../src/adapters/postgres/purge/purge-log.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import type { Purging } from "../../src/core/purge/purge-port.ts";
import { purgeOnce, type PurgeOptions, type PurgeRound } from "../../src/core/purge/purge.ts";
import { silent } from "../../src/library/defaults.ts";
import { createLogDatabase, openTestClient } from "./log-database.ts";
import { prepareSegments } from "./read-bench.ts";

export const hourMs = 3_600_000;
export const dayMs = 24 * hourMs;

/** Events live a week; segments are rolled by the test; what is locked is given up soon. */
export const purgeOptions: PurgeOptions = {
  retentionMs: 7 * dayMs,
  ageMsMax: 36_500 * dayMs,
  bytesMax: 2 ** 40,
  backoff: { delayMsMin: 1, delayMsMax: 10 },
  retriesMax: 1,
  retryMsMax: 60_000,
  trimEventsMax: 100,
  trimBatchesMax: 100,
  forgetRowsMax: 1_000,
  forgetBatchesMax: 10,
  pauseMs: 0,
};

export interface Bench extends AsyncDisposable {
  readonly url: string;
  /** As the database's owner, five connections. */
  readonly sql: postgres.Sql;
  /** The purger's own connection. */
  readonly client: PostgresClient;
  readonly purging: Purging;
  /** Publishes in a transaction of its own each; the ids. */
  readonly publish: (topic: string, count?: number) => Promise<readonly bigint[]>;
  readonly setRetention: (topic: string, retention: string) => Promise<void>;
  /** Takes a tick, then makes all that happened so far so much older. */
  readonly pass: (time: string) => Promise<void>;
  /** Attaches and rolls, whatever the age. */
  readonly roll: () => Promise<void>;
  readonly round: (options?: Partial<PurgeOptions>, purging?: Purging) => Promise<PurgeRound | null>;
  /** The ids that are there, ascending. */
  readonly ids: () => Promise<readonly bigint[]>;
}

/** One round, as the role runs it. */
export const runRound = async (
  purging: Purging,
  options: Partial<PurgeOptions> = {},
): Promise<PurgeRound | null> =>
  await purgeOnce(
    { purging, clock: makeClock(), random: () => 0.5, logger: silent },
    { ...purgeOptions, ...options },
    new AbortController().signal,
  );

export const openBench = async (): Promise<Bench> => {
  await using opening = new AsyncDisposableStack();
  const database = opening.use(await createLogDatabase());
  const { url } = database;
  const sql = opening.adopt(
    postgres(url, { max: 5, fetch_types: false, onnotice: () => {} }),
    async (it) => await it.end({ timeout: 1 }),
  );
  const client = opening.use(openTestClient(url));
  const purging = makePurging(client);
  const open = opening.move();
  return {
    url,
    sql,
    client,
    purging,
    publish: async (topic, count = 1) => {
      const ids: bigint[] = [];
      for (let left = count; left > 0; left -= 1) {
        const [row] = await sql<{ id: string }[]>`select pgstream.publish(${topic}, '{}') as id`;
        ids.push(BigInt(row?.id ?? 0));
      }
      return ids;
    },
    setRetention: async (topic, retention) => {
      await sql`
        insert into pgstream.topics (name, retention) values (${topic}, ${retention}::text::interval)
        on conflict (name) do update set retention = excluded.retention`;
    },
    pass: async (time) => {
      await purging.tick();
      await sql`
        with t as (update pgstream.ticks set at = at - ${time}::text::interval),
          p as (update pgstream.purges set announced_at = announced_at - ${time}::text::interval),
          l as (update pgstream.topic_looks set at = at - ${time}::text::interval)
        update pgstream.segments
        set attached_at = attached_at - ${time}::text::interval, opened_at = opened_at - ${time}::text::interval`;
    },
    roll: async () => {
      await prepareSegments(sql);
      await purging.rollSegment({ ageMsMax: 0, bytesMax: 0 });
      await purging.prepareSegments();
    },
    round: async (options, it = purging) => await runRound(it, options),
    ids: async () =>
      (await sql<{ id: string }[]>`select id from pgstream.events order by events.id`).map(({ id }) =>
        BigInt(id),
      ),
    [Symbol.asyncDispose]: async () => await open.disposeAsync(),
  };
};

/** A transaction that a test holds open. */
export const openTransaction = async (url: string) => {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
  await sql`begin`;
  return {
    sql,
    end: async (how: "commit" | "rollback") => {
      await sql.unsafe(how);
      await sql.end({ timeout: 1 });
    },
  };
};

/** Everything in schema pgstream as text, to compare. */
export const dumpLog = async (sql: postgres.Sql): Promise<string> => {
  const tables = await sql<{ name: string }[]>`
    select oid::regclass::text as name from pg_class
    where relnamespace = 'pgstream'::regnamespace and relkind in ('r', 'S') order by 1`;
  const parts: string[] = [];
  for (const { name } of tables) {
    const rows = await sql.unsafe<{ row: string }[]>(
      `select it::text as row from (select * from ${name}) it order by 1`,
    );
    parts.push(`${name}:`, ...rows.map(({ row }) => row));
  }
  return parts.join("\n");
};
