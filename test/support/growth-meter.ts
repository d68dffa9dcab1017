//! Counts what each statement of a client costs the server, whatever the statement is and however it was planned: buffers
//! as pg_stat_statements counts them, and the relations it locks. Nobody else may use the database meanwhile.

import postgres from "postgres";

import type { PostgresClient } from "../../src/adapters/postgres/client.ts";

export interface Work {
  readonly statements: number;
  readonly buffers: number;
  /** Tables and indexes, other than the server's own, that were locked. */
  readonly locks: number;
  readonly rows: number;
}

export interface Meter {
  readonly client: PostgresClient;
  /** What was done since the last call, one entry for each turn on the connection. */
  readonly take: () => readonly Work[];
}

/** What a server must be started with. */
export const meterSettings = {
  shared_preload_libraries: "pg_stat_statements",
  "pg_stat_statements.track_utility": "off",
  // Buffers are counted: nobody is to tidy up meanwhile, nor to make the statistics that a young table lacks.
  autovacuum: "off",
} as const;

interface Sums {
  readonly calls: number;
  readonly rows: number;
  readonly buffers: number;
}

const sumsOf = async (watcher: postgres.Sql, database: string): Promise<Sums> => {
  const [sums] = await watcher<Sums[]>`
    select coalesce(sum(calls), 0)::integer as calls, coalesce(sum(rows), 0)::integer as rows,
      coalesce(sum(shared_blks_hit + shared_blks_read), 0)::integer as buffers
    from pg_stat_statements(false) s join pg_database d on d.oid = s.dbid where d.datname = ${database}`;
  return sums ?? { calls: 0, rows: 0, buffers: 0 };
};

/** @param adminUrl of another database of the server, so that the looks themselves are not counted */
export const openMeter = async (
  client: PostgresClient,
  adminUrl: string,
  database: string,
): Promise<Meter & AsyncDisposable> => {
  const watcher = postgres(adminUrl, { max: 1, fetch_types: false, onnotice: () => {} });
  await watcher`create extension if not exists pg_stat_statements`;
  let works: Work[] = [];
  let turn: Promise<unknown> = Promise.resolve();

  const measure: PostgresClient["run"] = async (statement, deadlineMs) => {
    const before = await sumsOf(watcher, database);
    await client.run((sql) => sql`begin`);
    try {
      const result = await client.run(statement, deadlineMs);
      const [locks] = await client.run(
        (sql) => sql<{ n: number }[]>`
          select count(*)::integer as n from pg_locks
          where pid = pg_backend_pid() and locktype = 'relation' and relation >= 16384`,
      );
      await client.run((sql) => sql`commit`);
      const after = await sumsOf(watcher, database);
      works.push({
        // Less the one that counts locks, and its row.
        statements: after.calls - before.calls - 1,
        rows: after.rows - before.rows - 1,
        buffers: after.buffers - before.buffers,
        locks: locks?.n ?? 0,
      });
      return result;
    } catch (error) {
      await client.run((sql) => sql`rollback`);
      throw error;
    }
  };
  return {
    client: {
      ...client,
      run: async (statement, deadlineMs) => {
        const mine = turn.then(async () => await measure(statement, deadlineMs));
        turn = mine.catch(() => {});
        return await mine;
      },
    },
    take: () => {
      const taken = works;
      works = [];
      return taken;
    },
    [Symbol.asyncDispose]: async () => {
      await turn;
      await watcher.end({ timeout: 1 });
    },
  };
};

/** All of it as one. */
export const total = (works: readonly Work[]): Work => ({
  statements: works.reduce((sum, it) => sum + it.statements, 0),
  buffers: works.reduce((sum, it) => sum + it.buffers, 0),
  locks: works.reduce((sum, it) => sum + it.locks, 0),
  rows: works.reduce((sum, it) => sum + it.rows, 0),
});
