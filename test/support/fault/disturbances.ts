//! What goes on beside the writers: rolls, ticks written and pruned, sessions killed, and write transactions in another
//! database that hold back the horizon of the whole server.

import type postgres from "postgres";

import { count, type History } from "./history.ts";

export interface DisturbanceOptions {
  readonly history: History;
  readonly random: () => number;
  readonly isOver: () => boolean;
  readonly pause: (msMax: number) => Promise<void>;
}

type Disturbance = (sql: postgres.Sql, options: DisturbanceOptions) => Promise<void>;

/** Whatever fails for a lock that is taken is tried again later, as the purger does. */
const unlessLocked = async (work: () => PromiseLike<unknown>): Promise<boolean> => {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "55P03") return false;
    throw error;
  }
};

const roller: Disturbance = async (sql, { history, isOver, pause }) => {
  while (!isOver()) {
    await unlessLocked(async () => await sql`select pgstream.prepare_segments()`);
    await pause(40);
    await unlessLocked(async () => {
      const [row] = await sql<{ rolled: boolean }[]>`select pgstream.roll_segment('0 s', 0) as rolled`;
      if (row?.rolled === true) count(history, "roll");
    });
    await pause(250);
  }
};

const ticker: Disturbance = async (sql, { history, isOver, pause }) => {
  while (!isOver()) {
    const [row] = await sql<{ ticked: boolean }[]>`select pgstream.tick() as ticked`;
    if (row?.ticked === true) count(history, "tick");
    await pause(60);
  }
};

const tickPruner: Disturbance = async (sql, { history, random, isOver, pause }) => {
  while (!isOver()) {
    const result = await sql`delete from pgstream.ticks where random() < ${random() * 0.6}`;
    if (result.count > 0) count(history, "ticks pruned");
    await pause(300);
  }
};

/** Overlapping publishing and looking: somebody must always be in the middle of something. */
export const disturbances: readonly Disturbance[] = [roller, roller, ticker, ticker, tickPruner];

/** Sessions of the library, by name, and how many of them each time. The test's own readers do not connect anew. */
const killed: Readonly<Record<string, number>> = {
  "fault publisher": 0.3,
  "fault subscription": 0.05,
  tail: 0.05,
  "tail listener": 0.05,
};

/** Ends sessions of the library, in the middle of whatever they do. */
export const killSessions: Disturbance = async (sql, { history, isOver, pause }) => {
  while (!isOver()) {
    for (const [name, share] of Object.entries(killed)) {
      const { count: ended } = await sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = ${`pgstream ${name}`} and datname = current_database() and random() < ${share}`;
      if (ended > 0) count(history, `${name} killed`);
    }
    await pause(250);
  }
};

/** An unrelated write transaction, in another database of the server. */
export const foreignTransactions: Disturbance = async (sql, { history, isOver, pause }) => {
  while (!isOver()) {
    await sql.begin(async (transaction) => {
      await transaction`select pg_current_xact_id()`;
      await pause(1_500);
    });
    count(history, "foreign transaction");
  }
};
