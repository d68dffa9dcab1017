//! A second pair of hands on a database: sees the sessions of whoever is under test, ends them, and stands in their way.

import postgres from "postgres";

interface Session {
  readonly pid: number;
  readonly state: string;
  /** `Lock` while it waits for somebody. */
  readonly waits: string | null;
}

export interface Hands extends AsyncDisposable {
  readonly sql: postgres.Sql;
  /** Those that call themselves `pgstream <name>`, in this database. */
  readonly sessions: (name: string) => Promise<readonly Session[]>;
  /** Terminates them and waits until they are gone; how many. */
  readonly terminate: (name: string) => Promise<number>;
  /** Runs the statement in a transaction that stays open until the answer is called, which rolls it back. */
  readonly hold: (statement: string) => Promise<() => Promise<void>>;
}

const terminateDeadlineMs = 10_000;

export const openHands = (url: string): Hands => {
  const sql = postgres(url, { max: 4, onnotice: () => {}, connection: { application_name: "hands" } });
  const sessions = async (name: string): Promise<readonly Session[]> =>
    await sql<Session[]>`
      select pid, state, wait_event_type as waits from pg_stat_activity
      where application_name = ${`pgstream ${name}`} and datname = current_database() and state is not null`;
  const terminate = async (name: string): Promise<number> => {
    const ended = await sql`
      select pg_terminate_backend(pid, ${terminateDeadlineMs}) from pg_stat_activity
      where application_name = ${`pgstream ${name}`} and datname = current_database()`;
    return ended.length;
  };
  const hold = async (statement: string): Promise<() => Promise<void>> => {
    const session = await sql.reserve();
    await session`begin`;
    await session.unsafe(statement);
    return async () => {
      await session`rollback`;
      session.release();
    };
  };
  return {
    sql,
    sessions,
    terminate,
    hold,
    [Symbol.asyncDispose]: async () => await sql.end({ timeout: 2 }),
  };
};
