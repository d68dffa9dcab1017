//! Receipts: which events were handled. One per event id; the first one stays.

import type { Database } from "bun:sqlite";

import type { Receipt } from "../../core/subscribe/store.ts";

interface IdRow {
  readonly id: bigint;
}

export const makeReceipts = (database: Database) => {
  const put = database.query<never, [bigint, string, string | null]>(
    "insert into receivedEvents (event_id, topic, type) values (?1, ?2, ?3) on conflict (event_id) do nothing",
  );
  const ids = database.query<IdRow, [bigint, string, number]>(`
    select event_id as id from receivedEvents
    where event_id > ?1 and topic in (select value from json_each(?2))
    order by event_id limit ?3`);
  const count = database.query<{ readonly count: bigint }, []>(
    "select count(*) as count from receivedEvents",
  );
  const now = database.query<{ readonly now: number }, []>("select unixepoch('subsec') as now");
  const expire = database.query<never, [number, number]>(`
    delete from receivedEvents where event_id in (
      select event_id from receivedEvents where received_at < ?1 order by received_at limit ?2)`);

  return {
    put: ({ eventId, topic, type }: Receipt): void => {
      put.run(eventId, topic, type);
    },
    ids: (topics: readonly string[], after: bigint, limit: number): readonly bigint[] =>
      ids.all(after, JSON.stringify(topics), limit).map(({ id }) => id),
    count: (): number => Number(count.get()?.count ?? 0n),
    /** Seconds, by SQLite's clock. */
    now: (): number => now.get()?.now ?? 0,
    /** Removes at most `limit` receipts from before `horizon`, in seconds; returns how many. */
    expire: (horizon: number, limit: number): number => expire.run(horizon, limit).changes,
  };
};
