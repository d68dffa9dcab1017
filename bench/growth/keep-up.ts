//! The log's upkeep, faster than it ever goes: segments are attached, rolled, counted, emptied, detached and dropped, and topics
//! are added.

import { setTimeout as sleep } from "node:timers/promises";

import type { RawSql } from "../raw-table.ts";

/** As the purger and the migrator have it. */
export const lockTimeoutMs = 100;
const pauseMs = 100;
/** Segments in a row. */
const purgesMax = 10;

export interface Upkeep {
  /** The longest that each kind of statement took. */
  readonly longestMs: Readonly<Record<string, number>>;
  readonly done: Readonly<Record<string, number>>;
  /** Statements that gave up on a lock, to be tried again. */
  readonly gaveUp: number;
}

/**
 * Over and over until told to stop: as the purger and the migrator do it, with time made to pass.
 * @param turn names its topics, which are to be new ones
 */
export const keepUp = async (sql: RawSql, turn: string, signal: AbortSignal): Promise<Upkeep> => {
  const longestMs: Record<string, number> = {};
  const done: Record<string, number> = {};
  let gaveUp = 0;
  const step = async (name: string, statement: string): Promise<readonly Record<string, unknown>[]> => {
    const startedAtMs = performance.now();
    try {
      const rows = await sql.unsafe(statement);
      done[name] = (done[name] ?? 0) + 1;
      return rows;
    } catch (error) {
      // lock_not_available
      if (!(error instanceof Error && "code" in error && error.code === "55P03")) throw error;
      gaveUp += 1;
      return [];
    } finally {
      longestMs[name] = Math.max(longestMs[name] ?? 0, performance.now() - startedAtMs);
    }
  };
  await sql.unsafe(`set lock_timeout = ${lockTimeoutMs}`);
  for (let round = 0; !signal.aborted; round += 1) {
    await step(
      "add a topic",
      `insert into pgstream.topics (name) values ('added.${turn}.${round}') on conflict do nothing`,
    );
    await step("attach and settle", "select pgstream.prepare_segments()");
    await step("roll", "select pgstream.roll_segment('0 s', 0)");
    await step("take a tick", "select pgstream.tick()");
    for (let purges = 0; purges < purgesMax; purges += 1) {
      const announced = await step(
        "announce",
        "select pgstream.announce_segment_purge(s.segment, s.floor) from pgstream.expired_segments('0 s') s limit 1",
      );
      await step("empty", "select pgstream.empty_segment(u.id) from pgstream.unfinished_purges() u");
      if (announced.length === 0) break;
    }
    const [emptied] = await sql<{ name: string; attached: boolean; pending: boolean }[]>`
      select c.oid::regclass::text as name, i.inhrelid is not null as attached, coalesce(i.inhdetachpending, false) as pending
      from pgstream.segments s
      join pg_class c on c.oid = to_regclass('pgstream.events_' || s.segment)
      left join pg_inherits i on i.inhrelid = c.oid
      where s.emptied_at is not null order by s.segment limit 1`;
    if (emptied !== undefined) {
      const { name, attached, pending } = emptied;
      if (attached) {
        const how = pending ? "finalize" : "concurrently";
        await step("detach", `alter table pgstream.events detach partition ${name} ${how}`);
      } else await step("drop", `drop table ${name}`);
    }
    await sleep(pauseMs);
  }
  return { longestMs, done, gaveUp };
};
