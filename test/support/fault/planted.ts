//! Bugs that the fault test has to catch: each breaks one rule of the design, and nothing else.

import type postgres from "postgres";

import type { Bound, Log } from "../../../src/core/log.ts";
import type { FaultRun } from "./run.ts";

const lastValue = async (sql: postgres.Sql): Promise<bigint> => {
  const [row] = await sql<{ id: string }[]>`select last_value as id from pgstream.event_ids`;
  return BigInt(row?.id ?? 0);
};

/** Takes the bound for xids from `xmax` on from the sequence, instead of from a tick. */
const boundFromXmax = (log: Log, sql: postgres.Sql): Log => {
  const bounds: Bound[] = [];
  return {
    ...log,
    look: async (request) => {
      const lastId = await lastValue(sql);
      const look = await log.look(request);
      bounds.push({ xid: look.current.xmax, lastId });
      const main = bounds.findLast((it) => it.xid <= request.since.xmax) ?? null;
      return { ...look, bounds: { ...look.bounds, main } };
    },
  };
};

/** Believes that nothing happened when no id was handed out and nobody runs. */
export const sequenceShortCut = (log: Log, sql: postgres.Sql): Log => {
  let before = -1n;
  return {
    ...log,
    look: async (request) => {
      const lastId = await lastValue(sql);
      const look = await log.look(request);
      const isQuiet = lastId === before && look.current.xip.length === 0;
      before = lastId;
      return isQuiet ? { ...look, current: request.since, newestXid: null, tick: null } : look;
    },
  };
};

const tickUnchecked = async (sql: postgres.Sql): Promise<void> => {
  await sql`
    insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
    select 1, pg_current_xact_id(), pg_current_snapshot(), s.last_value - (not s.is_called)::integer, s.last_value, clock_timestamp()
    from pgstream.event_ids s`;
};

/** Ticks in transactions that took their xid long before: what they claim of ids is false. */
const tickWithEarlyXid: FaultRun["alsoRun"] = async (sql, { isOver, pause }) => {
  while (!isOver()) {
    await sql`begin`;
    await sql`select pg_current_xact_id()`;
    await pause(120);
    await tickUnchecked(sql);
    await sql`commit`;
  }
};

/** Ticks in the middle of a publishing transaction: its own xid counts as seen in the snapshot it takes. */
const tickWhilePublishing: FaultRun["alsoRun"] = async (sql, { history, isOver, pause }) => {
  while (!isOver()) {
    await sql`begin`;
    await sql`select pg_current_xact_id()`;
    await tickUnchecked(sql);
    await pause(80);
    const startedAt = performance.now();
    const [row] = await sql<{ id: string }[]>`
      select pgstream.publish('t0', '{}', notify => false) as id`;
    await pause(20);
    await sql`commit`;
    const id = BigInt(row?.id ?? 0);
    history.committed.set(id, { id, key: null, n: null, startedAt, committedAt: performance.now() });
  }
};

export const planted: Readonly<Record<string, Pick<FaultRun, "spoil" | "alsoRun">>> = {
  "a bound taken from xmax instead of a tick": { spoil: boundFromXmax },
  "a tick taken without the check, in a transaction with an early xid": { alsoRun: tickWithEarlyXid },
  "a tick with its xid before its snapshot, in a publishing transaction": { alsoRun: tickWhilePublishing },
};
