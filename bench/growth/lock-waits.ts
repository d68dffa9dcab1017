//! How long sessions wait for locks, looked at again and again from a connection of its own: a wait that ends between two
//! looks is told as shorter than it was, by one pause at most.

import { setTimeout as sleep } from "node:timers/promises";

import type { RawSql } from "../raw-table.ts";

export const lookEveryMs = 10;

/** The longest waits in milliseconds, 0 where none was seen. */
export interface LockWaits {
  /** Of the session that was asked about. */
  readonly own: number;
  /** Of all other clients. */
  readonly others: number;
}

export interface LockWatch {
  /** So far. */
  readonly longest: () => LockWaits;
  /** Resolves when it was told to stop. */
  readonly done: Promise<void>;
}

/** @param pid of the session that is asked about */
export const startLockWatch = (sql: RawSql, pid: number, signal: AbortSignal): LockWatch => {
  let longest: LockWaits = { own: 0, others: 0 };
  const watch = async (): Promise<void> => {
    while (!signal.aborted) {
      const [seen] = await sql<LockWaits[]>`
        select coalesce(max(ms) filter (where pid = ${pid}), 0)::float8 as own,
          coalesce(max(ms) filter (where pid <> ${pid}), 0)::float8 as others
        from (
          select l.pid, extract(epoch from clock_timestamp() - l.waitstart) * 1000 as ms
          from pg_locks l join pg_stat_activity a on a.pid = l.pid
          where not l.granted and a.backend_type = 'client backend') waits`;
      longest = {
        own: Math.max(longest.own, seen?.own ?? 0),
        others: Math.max(longest.others, seen?.others ?? 0),
      };
      await sleep(lookEveryMs);
    }
  };
  return { longest: () => longest, done: watch() };
};
