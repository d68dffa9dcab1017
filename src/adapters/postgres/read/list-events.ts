//! Walks the ids of the log, for comparing them with receipts.

import type { Epoch } from "../../../core/log.ts";
import type { LoggedId } from "../../../core/verify.ts";
import type { PostgresClient } from "../client.ts";

const pageMax = 20_000;

interface IdColumns {
  readonly id: bigint;
  readonly xid: string;
  readonly is_old: boolean;
}

const topicList = (topicIds: readonly number[]): string => `{${topicIds.join(",")}}`;

/**
 * Ids of the topics in the epoch, ascending.
 * @param receiptsAgeMs how long receipts are kept; null: as long as the events
 */
export async function* listEvents(
  client: PostgresClient,
  epoch: Epoch,
  topicIds: readonly number[],
  receiptsAgeMs: number | null,
): AsyncGenerator<LoggedId> {
  let after = epoch.firstId - 1n;
  for (;;) {
    const rows = await client.run(
      (sql) => sql<IdColumns[]>`
        select id, xid::text as xid,
          coalesce(created_at < pg_catalog.now() - ${receiptsAgeMs}::float8 * interval '1 ms', false) as is_old
        from pgstream.events
        where id > ${after} and topic_id = any(${topicList(topicIds)}::text::integer[])
        order by events.id limit ${pageMax}`,
    );
    for (const row of rows) yield { id: row.id, xid: BigInt(row.xid), isOld: row.is_old };
    const last = rows.at(-1);
    if (last === undefined || rows.length < pageMax) return;
    after = last.id;
  }
}

/** Those of the ids that the log holds, that lie in what retention removed of the topics, or that are of an earlier epoch. */
export const accountedIds = async (
  client: PostgresClient,
  epoch: Epoch,
  topicIds: readonly number[],
  ids: readonly bigint[],
): Promise<ReadonlySet<bigint>> => {
  const rows = await client.run(
    (sql) => sql<{ id: bigint }[]>`
      select u.id from pg_catalog.unnest(${`{${ids.join(",")}}`}::text::bigint[]) u(id)
      where u.id < ${epoch.firstId}
        or exists (select from pgstream.events e where e.id = u.id)
        or exists (
          select from pgstream.purges p where u.id between p.first_id and p.last_id
            and (p.topic_id is null or p.topic_id = any(${topicList(topicIds)}::text::integer[])))`,
  );
  return new Set(rows.map(({ id }) => id));
};

/** Every topic there is. */
export const listTopics = async (client: PostgresClient): Promise<readonly { id: number; name: string }[]> =>
  await client.run(
    (sql) => sql<{ id: number; name: string }[]>`select id, name from pgstream.topics order by id`,
  );

/** For how long the oldest segment that still holds events has been written to, in ms: no event is older than that. */
export const oldestSegmentAgeMs = async (client: PostgresClient): Promise<number | null> => {
  const [row] = await client.run(
    (sql) => sql<{ age: number | null }[]>`
      select extract(epoch from pg_catalog.now() - pg_catalog.min(opened_at))::float8 * 1000::float8 as age
      from pgstream.segments where opened_at is not null and emptied_at is null`,
  );
  return row?.age ?? null;
};
