import { expect, test } from "bun:test";

import postgres from "postgres";

import { createTestDatabase, describeOnPostgres, startOwnServer } from "../support/postgres.ts";

const query = async <T>(url: string, use: (sql: postgres.Sql) => Promise<T>): Promise<T> => {
  const sql = postgres(url, { max: 1 });
  try {
    return await use(sql);
  } finally {
    await sql.end();
  }
};

const databaseExists = async (url: string, name: string): Promise<boolean> =>
  await query(
    url,
    async (sql) => (await sql`select 1 from pg_database where datname = ${name}`).length === 1,
  );

test("a test database is empty, of its own name, and gone when dropped, even with a prepared transaction in it", async () => {
  await using other = await createTestDatabase();
  const db = await createTestDatabase();
  await query(db.url, async (sql) => {
    const [row] =
      await sql`select current_database() as name, (select count(*)::int from pg_tables where schemaname = 'public') as tables`;
    expect(row).toEqual({ name: db.name, tables: 0 });
    await sql.unsafe(`begin; create table t (a int); prepare transaction 'left''over ${db.name}'`);
  });
  expect(await databaseExists(other.url, db.name)).toBe(true);
  await db.drop();
  await db.drop();
  expect(await databaseExists(other.url, db.name)).toBe(false);
});

describeOnPostgres([15, 18], "a server of the test's own", (version) => {
  test("is durable and keeps what was committed through a crash and a restart on the same port", async () => {
    await using server = await startOwnServer({ version });
    const port = server.port;
    await query(server.url(), async (sql) => {
      const [row] =
        await sql`select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
        current_setting('full_page_writes') as pages, current_setting('server_version_num')::int / 10000 as major`;
      expect(row).toEqual({ fsync: "on", commit: "on", pages: "on", major: version });
      await sql`create table kept (a int)`;
    });
    await server.kill();
    expect(server.pid()).toBeUndefined();
    await server.start();
    await server.restart("immediate");
    expect(server.port).toBe(port);
    expect(await query(server.url(), async (sql) => await sql`select * from kept`)).toHaveLength(0);
  });
});
