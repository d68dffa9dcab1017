//! After a crash PostgreSQL hands out again the transaction ids whose WAL was not flushed, and nothing about the server
//! says so. A stored snapshot that claims to have seen them hides the events of their new owners, for ever.

import { expect, test } from "bun:test";

import postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import { makeReader, type Reader } from "../../src/core/read/reader.ts";
import { startCursor } from "../../src/core/read/start.ts";
import { parseSnapshot } from "../../src/core/snapshot.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { migrate, openTestClient, readAll } from "../support/log-database.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { waitFor } from "../support/wait-for.ts";

/** Nobody but us may flush the WAL, nor use up ids. */
const quiet = { wal_writer_delay: "10s", bgwriter_delay: "10s", autovacuum: "off", checkpoint_timeout: "1h" };

const connect = (server: PostgresServer): postgres.Sql =>
  postgres(server.url(), { max: 1, fetch_types: false, onnotice: () => {} });

/**
 * Uses up transaction ids and leaves nothing behind: an abort is written, but not flushed. PostgreSQL 15 flushes when a page of WAL is
 * full, so they get one to themselves: 40 aborts are 1.4 kB.
 */
const burn = async (sql: postgres.Sql, xids: number): Promise<void> => {
  await sql`select pg_switch_wal()`;
  for (let n = 0; n < xids; n += 1) {
    await sql`begin`;
    await sql`select pg_current_xact_id()`;
    await sql`rollback`;
  }
};

const latestXid = async (sql: postgres.Sql): Promise<bigint> => {
  const [row] = await sql<{ xid: string }[]>`select pg_snapshot_xmax(pg_current_snapshot())::text as xid`;
  return BigInt(row?.xid ?? 0);
};

/** @param cursor null: from earliest */
const openReader = async (client: PostgresClient, cursor: Cursor | null): Promise<Reader> => {
  const log = makeLog(client);
  const { newest } = await log.epoch();
  return makeReader(log, cursor ?? (await startCursor(log, newest, { kind: "earliest" })), {
    filter: parseTopicPatterns([">"]),
    epoch: newest,
    batchEventsMax: 10,
    pageEventsMax: 10,
    pageBytesMax: 1_000,
    onGap: () => {},
  });
};

const crashes: Readonly<Record<string, (server: PostgresServer, sql: postgres.Sql) => Promise<void>>> = {
  "an immediate stop": async (server) => await server.restart("immediate"),
  "the SIGKILL of one backend": async (_, sql) => {
    const [row] = await sql<{ pid: number; startedAt: string }[]>`
      select pg_backend_pid() as pid, pg_conf_load_time()::text as "startedAt"`;
    if (row === undefined) throw new Error("no backend");
    process.kill(row.pid, "SIGKILL");
    // Every session ends; the server comes back by itself.
    await waitFor(
      async () => (await sql<{ pid: number }[]>`select pg_backend_pid() as pid`)[0]?.pid !== row.pid,
      {
        what: "the server after the crash of a backend",
        deadlineMs: 30_000,
      },
    );
  },
};

describeOnPostgres([15, 18], "transaction ids that are handed out again", (version) => {
  test.each(Object.entries(crashes))(
    "after %s hide nothing from a subscription",
    async (_, crash) => {
      await using server = await startOwnServer({ version, settings: quiet });
      await migrate(server.url());
      const sql = connect(server);
      const cursors = { ours: null as Cursor | null, raw: null as Cursor | null };
      const readerAt = async (cursor: Cursor | null): Promise<Reader> => await openReader(client, cursor);
      let client = openTestClient(server.url());
      await sql`select pgstream.publish('t', '"before"')`;
      await burn(sql, 20);
      const reader = await readerAt(null);
      for (let batch = await reader.next(); batch !== null; batch = await reader.next())
        cursors.ours = batch.cursor;
      const [row] = await sql<{ snapshot: string }[]>`select pg_current_snapshot()::text as snapshot`;
      if (cursors.ours === null || row === undefined) throw new Error("nothing was read");
      cursors.raw = { ...cursors.ours, seen: parseSnapshot(row.snapshot) };
      const burntTo = await latestXid(sql);
      await client.end();

      await crash(server, sql);
      client = openTestClient(server.url());
      await waitFor(async () => (await sql`select 1`).length > 0, { what: "the server", deadlineMs: 30_000 });
      expect(await latestXid(sql), "the crash took ids back").toBeLessThan(burntTo);
      for (const what of ["one", "two", "three"])
        await sql`select pgstream.publish('t', ${`"${what}"`}::text::json)`;
      expect(await latestXid(sql)).toBeLessThan(burntTo);
      await burn(sql, 40);

      // What would be stored without the rule: all three are taken for seen.
      expect(await readAll(await readerAt(cursors.raw))).toEqual([]);
      const ids = await readAll(await readerAt(cursors.ours));
      expect(ids).toHaveLength(3);
      await client.end();
      await sql.end();
    },
    90_000,
  );

  test("between the two statements of a look hide nothing either", async () => {
    await using server = await startOwnServer({ version, settings: quiet });
    await migrate(server.url());
    const [sql, slow] = [connect(server), connect(server)];
    await sql`select pgstream.publish('t', '"before"')`;
    await burn(sql, 20);

    await using client = openTestClient(server.url());
    const crash = async (): Promise<void> => {
      const burntTo = await latestXid(sql);
      await server.restart("immediate");
      for (const isBack of [
        async () => (await sql`select 1`).length > 0,
        async () => (await slow`select 1`).length > 0,
        async () => (await client.run((it) => it`select 1`)).length > 0,
      ]) {
        await waitFor(isBack, { what: "the server", deadlineMs: 30_000 });
      }
      await slow`begin`;
      await slow`select pgstream.publish('t', '"slow"')`;
      await sql`select pgstream.publish('t', '"quick"')`;
      expect(await latestXid(sql), "the crash took ids back").toBeLessThan(burntTo);
    };
    let statements: number | null = null;
    let before: Promise<unknown> = Promise.resolve();
    const interrupted: PostgresClient = {
      ...client,
      run: async (statement, deadlineMs) => {
        statements = statements === null ? null : statements + 1;
        // The bounds, a look that expects a tick and finds none, and here the second one.
        if (statements === 3) await crash();
        // The page, and the look behind it.
        if (statements === 5) {
          await before;
          await slow`commit`;
        }
        const answer = client.run(statement, deadlineMs);
        before = answer;
        return await answer;
      },
    };
    const reader = await openReader(interrupted, null);
    statements = 0;
    expect(await readAll(reader)).toHaveLength(3);
    await Promise.all([sql.end(), slow.end()]);
  }, 90_000);
});
