//! What goes on beside the writers: rolls, ticks written and pruned, and write transactions in another database that
//! hold back the horizon of the whole server.

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
