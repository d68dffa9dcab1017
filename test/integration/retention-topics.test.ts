//! How a topic with a shorter retention than everybody's is trimmed, on a real log.

import { describe, expect, test } from "bun:test";

import { type Bench, dayMs, openBench, openTransaction } from "../support/purging.ts";

const retentionMs = 7 * dayMs;
const counted = { counted: true };

const announcedEvents = async ({ sql }: Bench): Promise<unknown> =>
  (await sql`select sum(events)::float8 as events from pgstream.purged_topics`)[0]?.["events"];

describe("a topic with a shorter retention", () => {
  test("is trimmed, and nothing else is", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("sessions", 4);
    const courses = await log.publish("courses", 5);
    await log.publish("sessions");
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
    await log.publish("sessions");
    const open = await openTransaction(log.url);
    const [long] = await open.sql<{ id: string }[]>`select pgstream.publish('sessions', '{}') as id`;
    await log.publish("sessions");
    await log.pass("2 hours");
    await open.end("commit");
    const [created] = await log.sql<{ older: boolean }[]>`
      select created_at < (select min(at) + interval '2 hours' from pgstream.ticks) as older
      from pgstream.events where id = ${long?.id ?? "0"}`;
    expect(created).toEqual({ older: true }); // by its own time it would go with the other
    expect(await log.round()).toMatchObject({ eventsTrimmed: 2 });
    expect(await log.ids()).toEqual([BigInt(long?.id ?? 0)]);
    // It is a late commit of the next window.
    await log.publish("courses");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1 });
    expect(await log.ids()).toHaveLength(1);
    expect(await announcedEvents(log)).toBe(3);
  });

  test("is trimmed of a transaction only when a tick that is old enough has seen it, and of nothing else that it published", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    const open = await openTransaction(log.url);
    await open.sql`select pgstream.publish(topic, '{}') from unnest(array['sessions', 'courses']) topic`;
    await log.publish("sessions");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1, failures: [] });
    await log.publish("sessions");
    await log.pass("2 hours");
    await open.end("commit");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1, failures: [] });
    expect(await log.ids()).toHaveLength(2);
    await log.publish("courses");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1, failures: [] });
    expect(await log.ids()).toHaveLength(2);
    expect(await announcedEvents(log)).toBe(3);
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

  test("is looked through by itself, whatever another was looked through for", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.setRetention("visits", "3 hours");
    await log.publish("visits", 2);
    await log.pass("2 hours");
    expect(await log.purging.expiredTopics(retentionMs, counted)).toEqual([]);
    expect(await log.round()).toMatchObject({ eventsTrimmed: 0, failures: [] });
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 2, failures: [] });
  });

  test("is trimmed twenty times within its retention, not with each round", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("sessions");
    await log.pass("2 minutes");
    await log.publish("sessions");
    await log.pass("59 minutes");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1 });
    await log.pass("2 minutes");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 0 });
    await log.pass("2 minutes");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1 });
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
    expect(await announcedEvents(log)).toBe(5);
    await log.publish("sessions");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1 });
    const overlapping = await log.sql`
      select from pgstream.purges p, pgstream.purges later
      where later.id > p.id and pg_snapshot_xmax(later.since) < pg_snapshot_xmax(p.floor)`;
    expect(overlapping).toHaveLength(0);
  });
});
