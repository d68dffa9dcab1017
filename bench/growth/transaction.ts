//! One transaction of a million events, while a subscriber is live: it comes in pages, the subscriber's memory stays what it
//! was, and who stops in the middle goes on in the middle.

import { liveThrough, makeTopics } from "../../test/support/growth-log.ts";
import { type BenchContext, DeliveryError, type Measure, scaled } from "../context.ts";
import { openRaw } from "../raw-table.ts";
import { atMost, rowOfFigure } from "./rows.ts";
import { startSubscriber, type SubscriberEnd, type SubscriberJob } from "./subscriber-process.ts";

const batchEventsMax = 2_500;

const commitAtOnce = async (database: string, events: number): Promise<void> => {
  const sql = openRaw(database, 1);
  await liveThrough(sql, {
    segments: 1,
    transactionsPerSegment: 1,
    eventsPerTransaction: events,
    topics: 20,
    data: `json_build_object('n', n, 'note', repeat(md5(n::text), 6))`,
  });
  await sql`select pg_notify('events', '*')`;
  await sql.end({ timeout: 1 });
};

const check = (what: string, end: SubscriberEnd, expected: number): void => {
  if (end.events === expected && end.backwards === 0) return;
  throw new DeliveryError(`${what}: ${end.events} of ${expected} events came, ${end.backwards} out of order`);
};

/** Stops after half of it, goes on in another process from the cursor: everything once, but for the batch in flight. */
const stopInTheMiddle = async (job: SubscriberJob, events: number): Promise<number> => {
  await using first = await startSubscriber({ ...job, from: "earliest", stopAfter: Math.floor(events / 2) });
  const before = await first.end;
  await using second = await startSubscriber({
    ...job,
    since: before.cursor,
    stopAfter: events - before.events,
  });
  const after = await second.end;
  const repeated = Number(BigInt(before.lastId) - BigInt(after.firstId) + 1n);
  if (repeated < 0 || repeated > batchEventsMax || before.events + after.events - repeated !== events) {
    throw new DeliveryError(
      `${before.events} events and then ${after.events} came of ${events}: ${repeated} twice`,
    );
  }
  return repeated;
};

export const growthTransaction: Measure = {
  name: "growth-transaction",
  about: "one transaction of 1,000,000 events: memory of the subscriber, and a stop in the middle",
  run: async (context: BenchContext) => {
    const events = scaled(context, 1_000_000, 1_000);
    await using database = await context.createDatabase();
    const sql = openRaw(database.url, 1);
    await makeTopics(sql, "orders", 20);
    await sql.end({ timeout: 1 });
    const job: SubscriberJob = {
      database: database.url,
      topics: [">"],
      since: null,
      from: "latest",
      stopAfter: events,
      tellEvery: Math.ceil(events / 20),
    };
    await using subscriber = await startSubscriber(job);
    await commitAtOnce(database.url, events);
    const end = await subscriber.end;
    check("one transaction", end, events);
    context.say(`  ${Math.round(subscriber.idleRssMb)} MB idle, ${Math.round(end.peakRssMb)} MB at most`);
    const repeated = await stopInTheMiddle(job, events);
    return {
      rows: [
        rowOfFigure({
          measure: `memory above idle, one transaction of ${events.toLocaleString("en-US")} events`,
          unit: "MB",
          value: end.peakRssMb - subscriber.idleRssMb,
          must: atMost(150, "MB"),
          details: {
            events,
            bytes: end.bytes,
            idleRssMb: subscriber.idleRssMb,
            peakRssMb: end.peakRssMb,
            repeatedAfterStop: repeated,
            places: subscriber.places,
          },
        }),
      ],
    };
  },
};
