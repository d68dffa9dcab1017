//! Purges the log: implements the port core/purge/purge-port.ts with one call of a function each.

import type {
  AnnouncedPurge,
  ExpiredSegment,
  ExpiredTopic,
  Purging,
  UnfinishedPurge,
} from "../../../core/purge/purge-port.ts";
import { type PostgresClient, readCommitted, type Sql } from "../client.ts";

/** What counts a segment, or looks for the end of one, may take this long: there are 2^32 ids in one. */
export const purgeDeadlineMs = 6 * 3_600_000;

/**
 * A purger's session. The server gives up on a statement first: so it fails for itself, and the round goes on; the deadline would take
 * the connection with it.
 */
export const purgingSession = {
  ...readCommitted,
  statement_timeout: String(purgeDeadlineMs - 10_000),
} as const;

interface SegmentColumns {
  readonly segment: number;
  readonly floor: string;
  readonly opened_at: Date;
  readonly closed_at: Date | null;
  readonly closed_ago_ms: number | null;
  readonly events: bigint | null;
}

interface TopicColumns {
  readonly topic_id: number;
  readonly name: string;
  readonly events: bigint | null;
  readonly since: string;
  readonly floor: string;
}

interface AnnouncedColumns {
  readonly purge: bigint | null;
  readonly events: bigint | null;
}

const segmentOf = (row: SegmentColumns): ExpiredSegment => ({
  segment: row.segment,
  floor: row.floor,
  openedAt: row.opened_at,
  closedAt: row.closed_at,
  closedAgoMs: row.closed_ago_ms,
  events: row.events,
});

const topicOf = (row: TopicColumns): ExpiredTopic => ({
  topicId: row.topic_id,
  name: row.name,
  events: row.events,
  since: row.since,
  floor: row.floor,
});

const announcedOf = (row: AnnouncedColumns | undefined): AnnouncedPurge | null =>
  row === undefined || row.purge === null ? null : { id: row.purge, events: row.events ?? 0n };

const interval = (sql: Sql, ms: number) => sql`${ms}::float8 * interval '1 ms'`;

/** The one answer of a function. */
const only = <T>([row]: readonly { readonly answer: T }[]): T => {
  if (row === undefined) throw new TypeError("a function answered no row");
  return row.answer;
};

/** Steps that take milliseconds, or give up on a lock. */
const quickSteps = (client: PostgresClient) => ({
  // Taken again it stays ours; it goes with the connection. Nothing depends on it but the work of doing all twice.
  lead: async () =>
    only(
      await client.run(
        (sql) => sql<{ answer: boolean }[]>`select pg_try_advisory_lock(1885827956, 5) as answer`,
      ),
    ),

  tick: async () =>
    only(await client.run((sql) => sql<{ answer: boolean }[]>`select pgstream.tick() as answer`)),

  prepareSegments: async () =>
    only(await client.run((sql) => sql<{ answer: number }[]>`select pgstream.prepare_segments() as answer`)),

  rollSegment: async ({ ageMsMax, bytesMax }: { readonly ageMsMax: number; readonly bytesMax: number }) =>
    only(
      await client.run(
        (sql) => sql<{ answer: boolean }[]>`
          select pgstream.roll_segment(${interval(sql, ageMsMax)}, ${bytesMax}::bigint) as answer`,
      ),
    ),

  unfinishedPurges: async (): Promise<readonly UnfinishedPurge[]> =>
    await client.run(
      (sql) => sql<UnfinishedPurge[]>`
        select id, segment, topic_id as "topicId", events from pgstream.unfinished_purges()`,
    ),
});

/** Steps that count, pass over an index, or remove. */
const slowSteps = (client: PostgresClient) => ({
  emptySegment: async (purge: bigint) =>
    only(
      await client.run(
        (sql) => sql<{ answer: boolean | null }[]>`select pgstream.empty_segment(${purge}::bigint) as answer`,
      ),
    ),

  expiredSegments: async (retentionMs: number, { counted }: { readonly counted: boolean }) => {
    const rows = await client.run(
      (sql) => sql<SegmentColumns[]>`
        select segment, floor::text as floor, opened_at, closed_at,
          (extract(epoch from now() - closed_at) * 1000)::float8 as closed_ago_ms, events
        from pgstream.expired_segments(${interval(sql, retentionMs)}, ${counted}::boolean)
        order by segment`,
      purgeDeadlineMs,
    );
    return rows.map(segmentOf);
  },

  announceSegmentPurge: async ({ segment, floor }: ExpiredSegment) => {
    const [row] = await client.run(
      (sql) => sql<AnnouncedColumns[]>`
        select purge, events from pgstream.announce_segment_purge(${segment}::integer, ${floor}::text::pg_snapshot)`,
      purgeDeadlineMs,
    );
    return announcedOf(row);
  },

  expiredTopics: async (retentionMs: number, { counted }: { readonly counted: boolean }) => {
    const rows = await client.run(
      (sql) => sql<TopicColumns[]>`
        select topic_id, name, events, since::text as since, floor::text as floor
        from pgstream.expired_topics(${interval(sql, retentionMs)}, ${counted}::boolean)`,
      purgeDeadlineMs,
    );
    return rows.map(topicOf);
  },

  announceTopicPurge: async ({ topicId, since, floor }: ExpiredTopic) => {
    const [row] = await client.run(
      (sql) => sql<AnnouncedColumns[]>`
        select purge, events from pgstream.announce_topic_purge(
          ${topicId}::integer, ${since}::text::pg_snapshot, ${floor}::text::pg_snapshot)`,
      purgeDeadlineMs,
    );
    return announcedOf(row);
  },

  trimTopic: async (purge: bigint, eventsMax: number) =>
    only(
      await client.run(
        (sql) => sql<{ answer: number }[]>`
          select pgstream.trim_topic(${purge}::bigint, ${eventsMax}::integer) as answer`,
        purgeDeadlineMs,
      ),
    ),

  forget: async (retentionMs: number, rowsMax: number) =>
    only(
      await client.run(
        (sql) => sql<{ answer: number }[]>`
          select pgstream.forget(${interval(sql, retentionMs)}, ${rowsMax}::integer) as answer`,
        purgeDeadlineMs,
      ),
    ),
});

/**
 * @param quick a connection for what must not wait for a statement that counts a segment: who leads, ticks and rolling. By default the
 * same one
 */
export const makePurging = (client: PostgresClient, quick = client): Purging => ({
  ...quickSteps(quick),
  ...slowSteps(client),
});
