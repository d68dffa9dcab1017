//! What goes, what stays, and in which order, on a real log.

import { describe, expect, test } from "bun:test";

import { makePurging } from "../../src/adapters/postgres/purge/purge-log.ts";
import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import type { TopicGap } from "../../src/core/gap.ts";
import type { AnnouncedPurge } from "../../src/core/purge/purge-port.ts";
import { openTestClient, readAll, readerFromStart } from "../support/log-database.ts";
import { type Bench, dayMs, openBench, openTransaction } from "../support/purging.ts";
import { waitFor } from "../support/wait-for.ts";

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
    // What the migrator removes it by.
    expect(await log.sql`select segment from pgstream.segments where emptied_at is not null`).toMatchObject([
      { segment: 0 },
    ]);
    await log.pass("8 days");
    expect(await log.purging.expiredSegments(retentionMs, counted)).toEqual([]); // it is in use
  });

  test("stays as long as its longest-lived topic, and with it all after it", async () => {
    await using log = await openBench();
    await log.setRetention("archive", "30 days");
    await log.setRetention("accounts", "30 days");
    await log.publish("courses");
    await log.pass("60 days");
    await log.roll();
    const [kept = 0n] = await log.publish("accounts");
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

  const insertInto = async ({ sql }: Pick<Bench, "sql">, id: bigint): Promise<void> => {
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

  const isWaitingForSegment = async ({ sql }: Bench): Promise<boolean> => {
    const waiting = await sql`
      select from pg_locks where relation = 'pgstream.events_0'::regclass and not granted`;
    return waiting.length > 0;
  };

  test("that somebody begins to write into while it is announced is not announced", async () => {
    const { log, expired } = await openExpired();
    await using _ = log;
    await log.sql`alter function pgstream.announce_segment_purge set lock_timeout = '20 s'`;
    const rolling = await openTransaction(log.url);
    await rolling.sql`select pg_advisory_xact_lock(1885827956, 3)`;
    const announcing = log.purging.announceSegmentPurge(expired);
    const hasCounted = async (): Promise<boolean> =>
      (await log.sql`select from pg_locks where locktype = 'advisory' and not granted`).length > 0;
    await waitFor(hasCounted, { what: "the count" });
    const open = await openTransaction(log.url);
    await insertInto(open, 1_000n);
    await rolling.end("commit");
    await waitFor(async () => await isWaitingForSegment(log), { what: "the announcement to wait" });
    await open.end("commit");
    expect(await announcing).toBeNull();
  });

  test("that somebody begins to write into while it is emptied is not emptied", async () => {
    const { log, expired } = await openExpired();
    await using _ = log;
    await log.sql`alter function pgstream.empty_segment set lock_timeout = '20 s'`;
    const purge = await log.purging.announceSegmentPurge(expired);
    const open = await openTransaction(log.url);
    await insertInto(open, 1_000n);
    const emptying = log.purging.emptySegment(purge?.id ?? 0n);
    await waitFor(async () => await isWaitingForSegment(log), { what: "the emptying to wait" });
    await open.end("commit");
    expect(await emptying).toBeFalse();
    expect(await log.ids()).toContain(1_000n);
  });

  test("that was emptied keeps what comes into it, and its announcement", async () => {
    const { log, expired } = await openExpired();
    await using _ = log;
    const { id = 0n } = (await log.purging.announceSegmentPurge(expired)) ?? {};
    expect(await log.purging.announceSegmentPurge(expired)).toEqual({ id, events: 1n }); // by whoever else
    expect(await log.purging.emptySegment(id)).toBeTrue();
    await insertInto(log, 2n);
    expect(await log.purging.emptySegment(id)).toBeNull();
    expect(await log.ids()).toContain(2n);
    expect(await log.sql`select from pgstream.purges`).toHaveLength(1);
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
    expect(await log.purging.expiredSegments(retentionMs, counted)).toEqual([]); // it is announced
    await open.end("commit");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 1n, failures: [] });
    expect(await log.ids()).toHaveLength(20);
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
    const running = await openTransaction(log.url);
    const [own] = await running.sql<{ xid: string }[]>`select pg_current_xact_id()::text as xid`;
    const seesIt = String(BigInt(own?.xid ?? 0) + 1n);
    await log.publish("courses");
    const [last] = await log.sql<{ xid: string }[]>`select max(xid::text) as xid from pgstream.events_0`;
    for (const position of [toCome, `${seesIt}:${seesIt}:`, `${last?.xid}:${last?.xid}:`, null])
      expect(await announce(segment, position)).toEqual(nothing);
    await running.end("rollback");
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

test("of several that are announced only what was done is", async () => {
  await using log = await openBench();
  for (const topic of ["sessions", "visits"]) {
    await log.setRetention(topic, "1 hour");
    await log.publish(topic);
  }
  await log.roll();
  await log.publish("courses");
  await log.roll();
  await log.publish("courses");
  await log.pass("8 days");
  const purges: (AnnouncedPurge | null)[] = [];
  for (const it of await log.purging.expiredTopics(retentionMs, counted))
    purges.push(await log.purging.announceTopicPurge(it));
  for (const it of await log.purging.expiredSegments(retentionMs, counted))
    purges.push(await log.purging.announceSegmentPurge(it));
  const [first, second, third, fourth] = purges.map((it) => it?.id ?? 0n);
  expect(await log.purging.trimTopic(first ?? 0n, 10)).toBe(1);
  expect(await log.purging.emptySegment(third ?? 0n)).toBeTrue();
  expect((await log.purging.unfinishedPurges()).map(({ id }) => id)).toEqual([second ?? 0n, fourth ?? 0n]);
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
