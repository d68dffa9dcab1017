//! A log that looks as if it had been lived in for long, made on the server in seconds: committed transactions with xids
//! and ids of their own, ticks between them, segments that hold a few events each instead of billions.

import type postgres from "postgres";

export interface LogHistory {
  /** The first segment to write to, attached when it is not there. Default 0. */
  readonly firstSegment?: number;
  readonly segments: number;
  readonly transactionsPerSegment: number;
  readonly eventsPerTransaction: number;
  /** Events go round the topics with these ids, from 1 on. Default 1. */
  readonly topics?: number;
  /** A tick after so many transactions. Default 1. */
  readonly transactionsPerTick?: number;
  /** What each event carries, an SQL expression of `n`. Default an empty object. */
  readonly data?: string;
}

/** @param sql one connection of the log's owner, who may write to the tables themselves */
export const liveThrough = async (
  sql: postgres.Sql,
  {
    firstSegment = 0,
    segments,
    transactionsPerSegment,
    eventsPerTransaction,
    topics = 1,
    transactionsPerTick = 1,
    data = "'{}'",
  }: LogHistory,
): Promise<void> => {
  // A tick in the way that tick() takes one: the last id, the snapshot, and only then an xid. tick() itself would flush.
  await sql.unsafe(`
    do $$ declare made bigint := 0; begin
      for number in ${firstSegment}..${firstSegment + segments - 1} loop
        if not exists (select from pgstream.segments s where s.segment = number) then
          perform pgstream.attach_segment(number);
          commit;
        end if;
        if (select last_value + is_called::integer from pgstream.event_ids) < number::bigint << 32 then
          update pgstream.segments s set opened_at = clock_timestamp() where s.segment = number;
          perform setval('pgstream.event_ids', (number::bigint << 32) - 1, true);
          commit;
        end if;
        for transaction in 1..${transactionsPerSegment} loop
          insert into pgstream.events (xid, id, created_at, topic_id, key, type, data)
            select pg_current_xact_id(), nextval('pgstream.event_ids'), clock_timestamp(),
              1 + (made + n) % ${topics}, 'key ' || n % 1000, 'Happened', (${data})::json
            from generate_series(1, ${eventsPerTransaction}) n;
          commit;
          made := made + ${eventsPerTransaction};
          if transaction % ${transactionsPerTick} = 0 then
            insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
              select 1, pg_current_xact_id(), pg_current_snapshot(), s.last_value, s.last_value, clock_timestamp()
              from pgstream.event_ids s;
            commit;
          end if;
        end loop;
      end loop;
    end $$`);
};

/** Topics named `<prefix>.1`, `<prefix>.2` and so on. */
export const makeTopics = async (sql: postgres.Sql, prefix: string, count: number): Promise<void> => {
  await sql`
    insert into pgstream.topics (name) select ${prefix}::text || '.' || n from generate_series(1, ${count}::integer) n`;
};
