//! The limit: the same rows in a table of the same columns and indexes, by hand, with nothing in between.

import { finished } from "node:stream/promises";

import postgres from "postgres";

import { type Draft, topicNames } from "./events.ts";

export const openRaw = (url: string, connections: number): postgres.Sql<{ bigint: bigint }> =>
  postgres(url, {
    max: connections,
    fetch_types: false,
    max_lifetime: null,
    onnotice: () => {},
    types: { bigint: postgres.BigInt },
  });
export type RawSql = ReturnType<typeof openRaw>;

export const createRawTable = async (sql: RawSql): Promise<void> => {
  await sql`
    create table raw (xid xid8 not null, id bigint primary key, created_at timestamptz not null,
      topic_id integer not null, key text, type text, headers json, data json not null)`;
  await sql`create index on raw (xid, topic_id)`;
};

/** As many sessions as there are connections, each open before a clock starts. */
export const warmUp = async (sql: RawSql): Promise<void> => {
  await Promise.all(Array.from({ length: sql.options.max }, () => sql`select pg_sleep(0.05)`));
};

const topicIds = new Map(topicNames.map((name, index) => [name, index + 1]));
export const topicIdOf = (topic: string): number => topicIds.get(topic) ?? 0;

/** One list as COPY takes it, of one transaction. Nothing in our events needs escaping. */
export const copyText = (drafts: readonly Draft[], xid: number, createdAt: string): string =>
  drafts
    .map(
      ({ topic, key, type, data }) =>
        `${xid}\t${data.n + 1}\t${createdAt}\t${topicIdOf(topic)}\t${key}\t${type}\t\\N\t${JSON.stringify(data)}\n`,
    )
    .join("");

/** Resolves when the rows are committed. */
export const copyIn = async (sql: RawSql, text: string): Promise<void> => {
  const target =
    await sql`copy raw (xid, id, created_at, topic_id, key, type, headers, data) from stdin`.writable();
  target.end(text);
  await finished(target);
};

export const insertOne = async (sql: RawSql, { topic, key, type, data }: Draft): Promise<void> => {
  await sql`
    insert into raw (xid, id, created_at, topic_id, key, type, headers, data)
    values (pg_current_xact_id(), ${data.n + 1}, now(), ${topicIdOf(topic)}, ${key}, ${type}, null,
      ${JSON.stringify(data)}::text::json)`;
};

export const countRaw = async (sql: RawSql): Promise<number> => {
  const [row] = await sql<{ count: number }[]>`select count(*)::integer as count from raw`;
  return row?.count ?? 0;
};
