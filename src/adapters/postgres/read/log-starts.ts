//! Places to start from: the floor, a point in time, an id. Implements LogStarts.

import type { LogStarts } from "../../../core/log.ts";
import { parseSnapshot, type Snapshot } from "../../../core/snapshot.ts";
import type { PostgresClient } from "../client.ts";
import { empty, prepared, sql, type Statement } from "../statement.ts";

const snapshotOf = (text: string | null | undefined): Snapshot | null =>
  text === null || text === undefined ? null : parseSnapshot(text);

export const makeLogStarts = (client: PostgresClient): LogStarts => ({
  floor: async ({ number }) => {
    const [row] = await client.run(
      (sql) => sql<{ snapshot: string | null; last_id: bigint | null; purge: bigint }[]>`
        select p.floor::text as snapshot, p.last_id, coalesce(newest.id, 0) as purge
        from (select max(id) as id from pgstream.purges) newest
        left join lateral (
          select * from pgstream.purges p
          where p.epoch = ${number} and p.segment is not null order by p.id desc limit 1
        ) p on true`,
    );
    const snapshot = snapshotOf(row?.snapshot);
    return {
      segments: snapshot === null ? null : { snapshot, lastId: row?.last_id ?? 0n },
      purge: row?.purge ?? 0n,
    };
  },

  tickBy: async ({ number }, at) => {
    const newest: Statement<{ snapshot: string }> = sql`
      select t.snapshot::text as snapshot from pgstream.ticks t
      where t.epoch = ${number} ${at === null ? empty : sql`and t.at <= ${at}`}
      order by t.at desc limit 1`;
    const [row] = await client.run(prepared(newest));
    return snapshotOf(row?.snapshot);
  },

  ticksAround: async ({ number }, id) => {
    // Ticks are taken one after the other: what one sees has ids at most those that the next one counts.
    const [row] = await client.run(
      (sql) => sql<{ before: string | null; after: string | null }[]>`
        select
          (select t.snapshot::text from pgstream.ticks t
           where t.epoch = ${number} and t.last_id < ${id} order by t.xid desc offset 1 limit 1) as before,
          (select t.snapshot::text from pgstream.ticks t
           where t.epoch = ${number} and t.last_id >= ${id} order by t.xid limit 1) as after`,
    );
    return { before: snapshotOf(row?.before), after: snapshotOf(row?.after) };
  },

  lastId: async () => {
    const [row] = await client.run(
      (sql) =>
        sql<{ id: bigint }[]>`select last_value - (not is_called)::integer as id from pgstream.event_ids`,
    );
    return row?.id ?? 0n;
  },
});
