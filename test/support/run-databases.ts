//! Making and dropping the databases of a run. All carry the run's id in their name; nothing else is ever dropped.

import postgres from "postgres";

const forgetNotices = (): void => {};

/** A connection for statements such as `create database`; closed when `use` is done. */
export const withAdmin = async <T>(url: string, use: (sql: postgres.Sql) => Promise<T>): Promise<T> => {
  const sql = postgres(url, { max: 1, onnotice: forgetNotices, connect_timeout: 30 });
  try {
    return await use(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
};

export const urlOfDatabase = (adminUrl: string, name: string): string => {
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return url.href;
};

export const namePrefix = (runId: string): string => `pgstream_test_${runId}_`;

/** Ends whatever still uses the database, prepared transactions included, and drops it. */
export const dropDatabase = async (adminUrl: string, name: string): Promise<void> => {
  await withAdmin(adminUrl, async (sql) => {
    const prepared = await sql<{ gid: string }[]>`select gid from pg_prepared_xacts where database = ${name}`;
    if (prepared.length > 0) {
      await withAdmin(urlOfDatabase(adminUrl, name), async (inside) => {
        for (const { gid } of prepared)
          await inside.unsafe(`rollback prepared '${gid.replaceAll("'", "''")}'`);
      });
    }
    await sql`drop database if exists ${sql(name)} with (force)`;
  });
};

/** Drops every database that the run made and did not drop itself. */
export const dropRunDatabases = async (adminUrl: string, runId: string): Promise<readonly string[]> => {
  const left = await withAdmin(
    adminUrl,
    async (sql) =>
      await sql<{ datname: string }[]>`
        select datname from pg_database where starts_with(datname, ${namePrefix(runId)}) order by datname`,
  );
  for (const { datname } of left) await dropDatabase(adminUrl, datname);
  return left.map(({ datname }) => datname);
};
