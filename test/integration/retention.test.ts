//! What goes, what stays, and in which order, on a real log.

import { describe, expect, test } from "bun:test";

import { makePurging } from "../../src/adapters/postgres/purge/purge-log.ts";
import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import type { TopicGap } from "../../src/core/gap.ts";
import { becomeAnotherServer, openTestClient, readAll, readerFromStart } from "../support/log-database.ts";
import { type Bench, dayMs, openBench, openTransaction } from "../support/purging.ts";

const retentionMs = 7 * dayMs;
const counted = { counted: true };
const second = 2n ** 32n;

describe("a segment", () => {
  test("goes when all its events are older than RETENTION, and not before", async () => {
    await using log = await openBench();
    const [first = 0n] = await log.publish("courses", 3);
    await log.roll();
    const later = await log.publish("courses", 2);
    await log.pass("6 days 23 hours");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 0, failures: [] });
    expect(await log.ids()).toContain(first);
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 3n, failures: [] });
    expect(await log.ids()).toEqual(later);
  });

  test("stays as long as its longest-lived topic, and with it all after it", async () => {
    await using log = await openBench();
    await log.setRetention("archive", "30 days");
    await log.publish("courses");
    await log.roll();
    const [kept = 0n] = await log.publish("archive");
    await log.roll();
    const [behind = 0n] = await log.publish("courses");
    await log.roll();
    await log.pass("8 days");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 1n });
    expect(await log.ids()).toEqual([kept, behind]);
    await log.pass("23 days");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 2, eventsPurged: 2n });
    expect(await log.ids()).toEqual([]);
  });

  test("of a topic whose retention is a year stays for a year of the calendar, though a year counts as 360 days among intervals", async () => {
    await using log = await openBench();
    const retention = { retentionMs: 362 * dayMs };
    await log.setRetention("archive", "1 year");
    const [kept = 0n] = await log.publish("archive");
    await log.roll();
    await log.publish("courses");
    await log.pass("1 day");
    await log.publish("courses");
    await log.pass("363 days");
    expect(await log.round(retention)).toMatchObject({ segmentsEmptied: 0, rowsForgotten: 0, failures: [] });
    await log.pass("2 days");
    expect(await log.round(retention)).toMatchObject({ segmentsEmptied: 1, eventsPurged: 1n, failures: [] });
    expect(await log.ids()).not.toContain(kept);
  });

  test("waits for no retention that cannot be subtracted from now: it is refused", async () => {
    await using log = await openBench();
    const error: unknown = await log.setRetention("archive", "9999 years").catch((it: unknown) => it);
    expect(sqlstateOf(error)).toBe("23514");
    await log.setRetention("archive", "1000 years");
    const [kept = 0n] = await log.publish("archive");
    await log.roll();
    await log.publish("courses");
    await log.pass("8 days");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 0, failures: [] });
    expect(await log.ids()).toContain(kept);
  });

  test("that ids ran on into by themselves, for nobody rolled, goes too", async () => {
    await using log = await openBench();
    await log.sql`select setval('pgstream.event_ids', ${String(second - 2n)}::bigint)`;
    expect(await log.publish("courses", 2)).toEqual([second - 1n, second]);
    await log.roll();
    await log.publish("courses");
    await log.pass("8 days");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 2, eventsPurged: 2n });
  });

  test("with an event of a transaction that is still open is not announced, and nobody passes the event over", async () => {
    await using log = await openBench();
    const before = await log.publish("courses", 2);
    const open = await openTransaction(log.url);
    const [late] = await open.sql<{ id: string }[]>`select pgstream.publish('courses', '{}') as id`;
    const lateId = BigInt(late?.id ?? 0);
    await log.roll();
    await log.pass("8 days");
    // Everything visible has expired; but somebody who wrote into it has not ended.
    const round = await log.round();
    expect(round).toMatchObject({
      segmentsEmptied: 0,
      failures: [{ step: "announce the purge of segment 0", retryable: true }],
    });
    // Before anything is counted.
    expect(round?.failures[0]?.error).toContain("somebody holds a lock on segment 0");
    expect(await log.sql`select from pgstream.purges`).toHaveLength(0);
    await open.end("commit");
    const reader = await readerFromStart(log.client, { onGap: () => {} });
    expect(await readAll(reader)).toEqual([...before, lateId]);
    // What came in is newer than any position that is old enough.
    expect(await log.round()).toMatchObject({ segmentsEmptied: 0, failures: [] });
    expect(await log.ids()).toEqual([...before, lateId]);

    await log.publish("courses");
    await log.pass("8 days");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 3n, failures: [] });
  });

  /** Segment 0 has expired, with one event. */
  const openExpired = async () => {
    const log = await openBench();
    await log.publish("courses");
    await log.roll();
    await log.publish("courses");
    await log.pass("8 days");
    const [expired] = await log.purging.expiredSegments(retentionMs, counted);
    if (expired === undefined) throw new Error("nothing has expired");
    return { log, expired };
  };

  const insertInto = async ({ sql }: Bench, id: bigint): Promise<void> => {
    await sql`
      insert into pgstream.events (xid, id, created_at, topic_id, data)
      select pg_current_xact_id(), ${String(id)}::bigint, now(), t.id, '{}' from pgstream.topics t`;
  };

  test("with an event that comes between the search and the announcement is not announced", async () => {
    const { log, expired } = await openExpired();
    await using _ = log;
    await insertInto(log, 2n);
    expect(await log.purging.announceSegmentPurge(expired)).toBeNull();
    expect(await log.sql`select from pgstream.purges`).toHaveLength(0);
  });

  test("with an event that comes after the announcement is not emptied, and the announcement is taken back", async () => {
    const { log, expired } = await openExpired();
    await using _ = log;
    expect(await log.purging.announceSegmentPurge(expired)).toMatchObject({ events: 1n });
    // Its id was drawn before the log moved on, and it took so long to write it.
    await insertInto(log, 2n);
    expect(await log.round()).toMatchObject({ segmentsEmptied: 0, failures: [] });
    expect(await log.ids()).toHaveLength(3);
    expect(await log.sql`select from pgstream.purges`).toHaveLength(0);
  });

  test("is given up on when a reader holds it, publishers go on meanwhile, and the next round empties it", async () => {
    await using log = await openBench();
    await log.publish("courses");
    await log.roll();
    await log.pass("8 days");
    const open = await openTransaction(log.url);
    await open.sql`select count(*) from pgstream.events_0`;
    const [round] = await Promise.all([log.round(), log.publish("courses", 20)]);
    expect(round).toMatchObject({
      segmentsEmptied: 0,
      failures: [{ step: "empty segment 0", retryable: true }],
    });
    expect(await log.ids()).toHaveLength(21);
    await open.end("commit");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 1n, failures: [] });
    expect(await log.ids()).toHaveLength(20);
  });

  test("of a later epoch lives as long as its own events, and goes as one of that epoch", async () => {
    await using log = await openBench();
    await log.publish("courses");
    await becomeAnotherServer(log.sql);
    const [first = 0n] = await log.publish("courses");
    await log.sql`update pgstream.epochs set opened_at = opened_at - interval '1 year'`;
    await log.roll();
    const [later = 0n] = await log.publish("courses");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 2, eventsPurged: 1n });
    expect(await log.ids()).toEqual([first, later]);
    await log.pass("8 days");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 1n });
    expect(await log.ids()).toEqual([later]);
    expect(await log.sql`select epoch from pgstream.purges where segment > 1`).toMatchObject([{ epoch: 2 }]);
  });

  test("in use is nobody's to announce, nor any one up to a position that is still to come, or to none", async () => {
    const { log, expired } = await openExpired();
    await using _ = log;
    const { segment, floor } = expired;
    const open = await openTransaction(log.url);
    const announce = async (number: number | null, position: string | null) =>
      (
        await open.sql`select purge from pgstream.announce_segment_purge(${number}::integer, ${position}::text::pg_snapshot)`
      )[0];
    const nothing = { purge: null };
    const toCome = "1:9223372036854775806:";
    const [now] = await log.sql<{ floor: string }[]>`select pg_current_snapshot()::text as floor`;
    for (const number of [1, 2, 16_384, 99, -1, null])
      expect(await announce(number, now?.floor ?? "")).toEqual(nothing);
    for (const position of [toCome, null]) expect(await announce(segment, position)).toEqual(nothing);
    // Nothing is locked for it: who publishes goes on.
    await log.publish("courses");
    expect(await announce(segment, floor)).not.toEqual(nothing);
    await open.end("rollback");
  });

  test("that a reader holds, and of which a topic is trimmed meanwhile, is told of as at most so many", async () => {
    await using log = await openBench();
    await log.publish("sessions", 10);
    await log.roll();
    const later = await log.publish("courses");
    await log.pass("8 days");
    await log.setRetention("sessions", "1 hour");
    const open = await openTransaction(log.url);
    await open.sql`select count(*) from pgstream.events_0`;
    await using client = openTestClient(log.url);
    const gaps: TopicGap[] = [];
    const reader = await readerFromStart(client, { onGap: (gap) => void gaps.push(...gap) });
    expect(await log.round()).toMatchObject({ segmentsEmptied: 0, eventsTrimmed: 10 });
    await open.end("commit");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1 });
    expect(await readAll(reader)).toEqual([...later]);
    expect(gaps).toEqual([{ topic: "sessions", events: 20, exact: false }]);
  });

  test("of the log that nobody has ticked is never old enough", async () => {
    await using log = await openBench();
    await log.publish("courses");
    await log.roll();
    expect(await log.purging.expiredSegments(0, counted)).toEqual([]);
  });
});

describe("a topic with a shorter retention", () => {
  test("is trimmed, and nothing else is", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("sessions", 5);
    const courses = await log.publish("courses", 5);
    await log.pass("2 hours");
    const young = await log.publish("sessions", 2);
    await log.pass("1 minute");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 5, segmentsEmptied: 0, failures: [] });
    expect(await log.ids()).toEqual([...courses, ...young]);
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 2 });
    expect(await log.ids()).toEqual([...courses]);
  });

  test("is trimmed by tick and not by created_at: an event of a long transaction is not born expired", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    const open = await openTransaction(log.url);
    const [long] = await open.sql<{ id: string }[]>`select pgstream.publish('sessions', '{}') as id`;
    await log.publish("sessions");
    await log.pass("2 hours");
    await open.end("commit");
    const [created] = await log.sql<{ older: boolean }[]>`
      select created_at < (select min(at) + interval '2 hours' from pgstream.ticks) as older
      from pgstream.events where id = ${long?.id ?? "0"}`;
    expect(created).toEqual({ older: true }); // by its own time it would go with the other
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1 });
    expect(await log.ids()).toEqual([BigInt(long?.id ?? 0)]);
    // It is a late commit of the next window.
    await log.publish("courses");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1 });
    expect(await log.ids()).toHaveLength(1);
  });

  test("is trimmed of what commits behind a look that found nothing", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    const open = await openTransaction(log.url);
    await open.sql`select pgstream.publish('sessions', '{}')`;
    await log.publish("courses");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 0, failures: [] });
    expect(await log.sql`select from pgstream.topic_looks`).toHaveLength(1);
    await open.end("commit");
    await log.publish("courses");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1, failures: [] });
    expect(await log.sql`select from pgstream.topic_looks`).toHaveLength(0);
  });

  test("is trimmed in batches of at most so many events, so many in a round, late commits included", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    const open = await openTransaction(log.url);
    await open.sql`select pgstream.publish('sessions', '{}') from generate_series(1, 15)`;
    await log.publish("sessions", 3);
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 3 });
    await open.end("commit");
    await log.sql`select pgstream.publish('sessions', '{}') from generate_series(1, 25)`;
    await log.publish("sessions", 20);
    const kept = await log.publish("courses", 4);
    await log.pass("2 hours");
    expect(await log.round({ trimEventsMax: 10, trimBatchesMax: 2 })).toMatchObject({ eventsTrimmed: 20 });
    expect(await log.ids()).toHaveLength(44);
    expect(await log.purging.unfinishedPurges()).toHaveLength(1);
    expect(await log.round({ trimEventsMax: 10 })).toMatchObject({ eventsTrimmed: 40 });
    expect(await log.ids()).toEqual([...kept]);
    expect(await log.purging.unfinishedPurges()).toEqual([]);
  });

  test("is not announced up to a position that is still to come, or to none, nor trimmed by no number of events", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("sessions", 3);
    await log.pass("2 hours");
    const [expired] = await log.purging.expiredTopics(retentionMs, counted);
    if (expired === undefined) throw new Error("nothing has expired");
    const { topicId, since, floor } = expired;
    const announce = async (from: string | null, to: string | null) =>
      (
        await log.sql`select purge from pgstream.announce_topic_purge(
          ${topicId}::integer, ${from}::text::pg_snapshot, ${to}::text::pg_snapshot)`
      )[0];
    for (const [from, to] of [
      [since, "1:9223372036854775806:"],
      [since, null],
      [null, floor],
    ] as const)
      expect(await announce(from, to)).toEqual({ purge: null });
    const [announced] = await log.sql`
      select pgstream.trim_topic(purge, null) as trimmed from pgstream.announce_topic_purge(
        ${topicId}::integer, ${since}::text::pg_snapshot, ${floor}::text::pg_snapshot)`;
    expect(announced).toEqual({ trimmed: 0 });
    expect(await log.ids()).toHaveLength(3);
  });

  test("is announced over windows that never overlap, whoever announces them", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("sessions", 3);
    await log.pass("2 hours");
    const [early] = await log.purging.expiredTopics(retentionMs, counted);
    await log.publish("sessions", 2);
    await log.pass("2 hours");
    const [late] = await log.purging.expiredTopics(retentionMs, counted);
    if (early === undefined || late === undefined) throw new Error("nothing has expired");
    expect(await log.purging.announceTopicPurge(early)).toMatchObject({ events: 3n });
    expect(await log.purging.announceTopicPurge(late)).toBeNull();
    await log.pass("1 hour");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 5 });
    const [sum] = await log.sql<
      { events: number }[]
    >`select sum(events)::float8 as events from pgstream.purged_topics`;
    expect(sum).toEqual({ events: 5 });
  });
});

test("a purger that is killed between announcing and emptying leaves nothing that the next does not finish", async () => {
  await using log = await openBench();
  await log.setRetention("sessions", "1 hour");
  const sessions = await log.publish("sessions", 10);
  const courses = await log.publish("courses", 3);
  await log.roll();
  const later = await log.publish("courses");
  await log.pass("2 hours");
  await using client = openTestClient(log.url);
  const killed = makePurging(client);
  const [topic] = await killed.expiredTopics(retentionMs, counted);
  if (topic === undefined) throw new Error("nothing has expired");
  const trim = await killed.announceTopicPurge(topic);
  expect(await killed.trimTopic(trim?.id ?? 0n, 4)).toBe(4);
  await log.pass("8 days");
  const [segment] = await killed.expiredSegments(retentionMs, counted);
  if (segment === undefined) throw new Error("nothing has expired");
  expect(segment).toMatchObject({ segment: 0, events: 9n });
  await killed.announceSegmentPurge(segment);
  await log.sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and query like '%announce_segment_purge%'`;
  expect(await log.ids()).toEqual([...sessions.slice(4), ...courses, ...later]);

  await using next = openTestClient(log.url);
  expect(await log.round({}, makePurging(next))).toMatchObject({ segmentsEmptied: 1, failures: [] });
  expect(await log.ids()).toEqual([...later]);
  expect(await log.purging.unfinishedPurges()).toEqual([]);
});
