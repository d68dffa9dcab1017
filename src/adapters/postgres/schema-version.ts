//! How many migrations a database has, for those who have no right to read pgstream.migrations: the number stands in the
//! comment on that table, which everybody can read and which changes in the same transaction.

import type { PostgresClient } from "./client.ts";

const comment = /^pgstream schema (?<version>\d+)$/;

export const formatSchemaVersion = (version: number): string => `pgstream schema ${version}`;

/** Null when the migrator has never been here. */
export const readSchemaVersion = async (client: PostgresClient): Promise<number | null> => {
  const [row] = await client.run(
    (sql) => sql<{ comment: string | null }[]>`
      select pg_catalog.obj_description(c.oid, 'pg_class') as comment
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'pgstream' and c.relname = 'migrations'`,
  );
  const version = comment.exec(row?.comment ?? "")?.groups?.["version"];
  return version === undefined ? null : Number(version);
};
