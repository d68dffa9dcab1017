//! Places to start from: the floor, a point in time, an id. Implements LogStarts.

import type { Epoch, LogStarts } from "../../../core/log.ts";
import { parseSnapshot, type Snapshot } from "../../../core/snapshot.ts";
import { empty, sql, type Statement } from "../statement.ts";
import type { Ask } from "./ask.ts";

const snapshotOf = (text: string | null | undefined): Snapshot | null =>
  text === null || text === undefined ? null : parseSnapshot(text);

interface FloorColumns {
  readonly snapshot: string | null;
  readonly last_id: bigint | null;
  readonly purge: bigint;
}

const selectFloor = ({ number }: Epoch): Statement<FloorColumns> => sql`
  select p.floor::text as snapshot, p.last_id, coalesce(newest.id, 0) as purge
  from (select pg_catalog.max(id) as id from pgstream.purges) newest
  left join lateral (
    select * from pgstream.purges p
    where p.epoch = ${number} and p.segment is not null order by p.id desc limit 1
  ) p on true`;

const selectTickBy = ({ number }: Epoch, at: Date | null): Statement<{ snapshot: string }> => sql`
  select t.snapshot::text as snapshot from pgstream.ticks t
  where t.epoch = ${number} ${at === null ? empty : sql`and t.at <= ${at}`}
  order by t.at desc limit 1`;

interface TicksAroundColumns {
  readonly before: string | null;
  readonly after: string | null;
}

/** Ticks are taken one after the other: what one sees has ids at most those that the next one counts. */
const selectTicksAround = ({ number }: Epoch, id: bigint): Statement<TicksAroundColumns> => sql`
  select
    (select t.snapshot::text from pgstream.ticks t
     where t.epoch = ${number} and t.last_id < ${id} order by t.xid desc offset 1 limit 1) as before,
    (select t.snapshot::text from pgstream.ticks t
     where t.epoch = ${number} and t.last_id >= ${id} order by t.xid limit 1) as after`;

const selectLastId: Statement<{ id: bigint }> = sql`
  select last_value - (not is_called)::integer as id from pgstream.event_ids`;

export const makeLogStarts = (ask: Ask): LogStarts => ({
  floor: async (epoch) => {
    const [row] = await ask(selectFloor(epoch));
    const snapshot = snapshotOf(row?.snapshot);
    return {
      segments: snapshot === null ? null : { snapshot, lastId: row?.last_id ?? 0n },
      purge: row?.purge ?? 0n,
    };
  },

  tickBy: async (epoch, at) => {
    const [row] = await ask(selectTickBy(epoch, at));
    return snapshotOf(row?.snapshot);
  },

  ticksAround: async (epoch, id) => {
    const [row] = await ask(selectTicksAround(epoch, id));
    return { before: snapshotOf(row?.before), after: snapshotOf(row?.after) };
  },

  lastId: async () => {
    const [row] = await ask(selectLastId);
    return row?.id ?? 0n;
  },
});
