//! Writers that do to the log whatever applications may do: overlapping, rolled back, nested, prepared and long
//! transactions, xids taken early, several publish calls in one, row locks before publishing, savepoints.

import postgres from "postgres";

import { count, type History } from "./history.ts";

/** Of one connection. */
type Connection = postgres.Sql;

export interface WriterOptions {
  readonly history: History;
  readonly random: () => number;
  readonly keys: number;
  readonly topics: number;
  readonly isOver: () => boolean;
  /** Lets other sessions run between two statements of a transaction. */
  readonly pause: (msMax: number) => Promise<void>;
}

/** An event published in a transaction that has not committed yet. */
interface Pending {
  readonly id: bigint;
  readonly key: string | null;
  readonly n: number | null;
  readonly startedAt: number;
}

type Kind = (sql: Connection, options: WriterOptions, name: string) => Promise<Pending[] | null>;

const publish = async (
  sql: Connection,
  { random, topics }: WriterOptions,
  key: string | null = null,
  n: number | null = null,
): Promise<Pending> => {
  const startedAt = performance.now();
  const topic = `t${Math.floor(random() * topics)}`;
  const [row] = await sql<{ id: string }[]>`
    select pgstream.publish(${topic}, ${`{"n":${n ?? 0}}`}::text::json, ${key}, notify => false) as id`;
  return { id: BigInt(row?.id ?? 0), key, n, startedAt };
};

const batch = async (
  sql: Connection,
  { random, topics }: WriterOptions,
  size: number,
): Promise<Pending[]> => {
  const startedAt = performance.now();
  const names = Array.from({ length: size }, () => `t${Math.floor(random() * topics)}`).join("\u001E");
  const data = Array.from({ length: size }, (_, n) => `{"n":${n}}`).join("\u001E");
  const [row] = await sql<{ ids: string }[]>`
    select pgstream.publish_batch(${names}, ${data}, notify => false)::text as ids`;
  const ids = row?.ids.slice(1, -1).split(",").map(BigInt) ?? [];
  return ids.map((id) => ({ id, key: null, n: null, startedAt }));
};

/** begin … commit, with a rollback one time in five. */
const inTransaction = async (
  sql: Connection,
  options: WriterOptions,
  work: () => Promise<Pending[]>,
): Promise<Pending[] | null> => {
  await sql`begin`;
  try {
    const pending = await work();
    if (options.random() < 0.2) {
      await sql`rollback`;
      return null;
    }
    await sql`commit`;
    return pending;
  } catch (error) {
    await sql`rollback`;
    throw error;
  }
};

const kinds: Readonly<Record<string, Kind>> = {
  single: async (sql, options) => [await publish(sql, options)],
  batch: async (sql, options) => await batch(sql, options, 1 + Math.floor(options.random() * 20)),
  several: async (sql, options) =>
    await inTransaction(sql, options, async () => {
      await sql`select pg_current_xact_id()`; // the xid early, the ids late
      await options.pause(20);
      const first = await publish(sql, options);
      await options.pause(30);
      const more = await batch(sql, options, 3);
      await options.pause(10);
      return [first, ...more, await publish(sql, options)];
    }),
  long: async (sql, options) =>
    await inTransaction(sql, options, async () => {
      const first = await publish(sql, options);
      await options.pause(400);
      return [first, await publish(sql, options)]; // perhaps after a roll
    }),
  contended: async (sql, options) =>
    await inTransaction(sql, options, async () => {
      const key = `k${Math.floor(options.random() * options.keys)}`;
      if (options.random() < 0.5) await sql`select pg_current_xact_id()`;
      await options.pause(5);
      const [row] = await sql<{ n: number }[]>`update counters set n = n + 1 where key = ${key} returning n`;
      return [await publish(sql, options, key, row?.n ?? 0)];
    }),
  savepoint: async (sql, options) =>
    await inTransaction(sql, options, async () => {
      const kept = [await publish(sql, options)];
      await sql`savepoint inner_one`;
      await batch(sql, options, 2);
      await options.pause(10);
      await sql`rollback to savepoint inner_one`;
      await sql`savepoint inner_two`;
      kept.push(await publish(sql, options));
      await sql`release savepoint inner_two`;
      return kept;
    }),
  nested: async (sql, options) =>
    await inTransaction(sql, options, async () => {
      await sql`
        do $$ begin
          begin
            perform pgstream.publish('t0', '{"rolled": "back"}', notify => false);
            raise division_by_zero;
          exception when division_by_zero then null;
          end;
        end $$`;
      return [await publish(sql, options)];
    }),
  prepared: async (sql, options, name) => {
    await sql`begin`;
    const pending = [await publish(sql, options), await publish(sql, options)];
    await sql.unsafe(`prepare transaction '${name}'`);
    await options.pause(150);
    const isKept = options.random() < 0.8;
    await sql.unsafe(`${isKept ? "commit" : "rollback"} prepared '${name}'`);
    return isKept ? pending : null;
  },
  slow: async (sql, options) =>
    await inTransaction(sql, options, async () => {
      await options.pause(100);
      const many = await batch(sql, options, 50);
      await options.pause(100);
      return many;
    }),
};

/** Commits one random transaction after the other until it is over. */
export const runWriter = async (sql: Connection, worker: number, options: WriterOptions): Promise<void> => {
  const names = Object.keys(kinds);
  for (let n = 0; !options.isOver(); n += 1) {
    const name = names[Math.floor(options.random() * names.length)] ?? "single";
    const kind = kinds[name];
    try {
      const pending = (await kind?.(sql, options, `w${worker}_${n}`)) ?? null;
      const committedAt = performance.now();
      for (const it of pending ?? []) options.history.committed.set(it.id, { ...it, committedAt });
      count(options.history, pending === null ? `${name} rolled back` : name);
    } catch (error) {
      options.history.refused.push(
        `${name}: ${String(error)} ${error instanceof postgres.PostgresError ? (error.detail ?? "") : ""}`,
      );
    }
  }
};
