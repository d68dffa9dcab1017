//! A transaction that is held open while a million events pass: what a window costs and what a subscriber holds is the same
//! in the end as in the beginning, and when it ends, its own events come at once.

import { setTimeout as sleep } from "node:timers/promises";

import { openPublisher } from "../../src/library/publisher.ts";
import { type BenchContext, DeliveryError, type Measure, scaled } from "../context.ts";
import { openRaw } from "../raw-table.ts";
import { rowOfFigure } from "./rows.ts";
import { startSubscriber, type SubscriberPlace } from "./subscriber-process.ts";

const fullSeconds = 60;
const batch = 500;
const own = 10;
/** The first is for warming up. A look at the statistics takes more than a second, so a first impression has few. */
const stretchesOf = ({ scale }: BenchContext): number => (scale < 1 ? 3 : 5);

// A session tells the server what it did at the end of a transaction, once a second at most.
const statisticsIntervalMs = 1_100;

/** Buffers that the database touched so far, by everybody. */
const buffersOf = async (
  admin: ReturnType<typeof openRaw>,
  name: string,
  publishOne: () => Promise<unknown>,
): Promise<number> => {
  await sleep(statisticsIntervalMs);
  await publishOne();
  await sleep(200);
  const [row] = await admin<{ n: number }[]>`
    select (blks_hit + blks_read)::float8 as n from pg_stat_database where datname = ${name}`;
  return row?.n ?? 0;
};

/** Publishes at a steady rate, stretch by stretch. The buffers that each took, publishing included. */
const publishSteadily = async (
  { adminUrl, signal, say }: BenchContext,
  database: { readonly url: string; readonly name: string },
  { events, seconds, stretches }: Readonly<Record<"events" | "seconds" | "stretches", number>>,
): Promise<readonly number[]> => {
  const admin = openRaw(adminUrl, 1);
  await using publisher = openPublisher({ database: database.url });
  const draft = { topic: "orders", key: "one", data: { note: "x".repeat(180) } };
  const publishOne = async (): Promise<unknown> => await publisher.publish(draft);
  const batches = events / batch / stretches;
  const buffers: number[] = [];
  let before = await buffersOf(admin, database.name, publishOne);
  for (let stretch = 0; stretch < stretches; stretch += 1) {
    const startedAtMs = performance.now();
    for (let sent = 0; sent < batches; sent += 1) {
      signal.throwIfAborted();
      const dueMs = ((sent / batches) * seconds * 1_000) / stretches - (performance.now() - startedAtMs);
      if (dueMs > 0) await sleep(dueMs);
      await publisher.publish(Array.from({ length: batch }, () => draft));
    }
    const now = await buffersOf(admin, database.name, publishOne);
    buffers.push(now - before);
    before = now;
    say(
      `  ${(((stretch + 1) * events) / stretches).toLocaleString("en-US")} events passed: ${buffers.at(-1)} buffers`,
    );
  }
  await admin.end({ timeout: 1 });
  return buffers;
};

const growthOf = (places: readonly SubscriberPlace[], figure: (place: SubscriberPlace) => number): number => {
  const at = (share: number): number => {
    const place = places[Math.floor((places.length - 1) * share)];
    return place === undefined ? Number.NaN : figure(place);
  };
  return at(1) - at(0.2);
};

export const growthOpenTransaction: Measure = {
  name: "growth-open-transaction",
  about: "a transaction held open for 60 s while 1,000,000 events pass",
  run: async (context) => {
    const stretches = stretchesOf(context);
    const events = scaled(context, 1_000_000, batch * stretches);
    const seconds = Math.max(2, fullSeconds * Math.min(1, context.scale));
    await using database = await context.createDatabase();
    // One more for each look at the statistics.
    const all = events + own + stretches + 1;
    await using subscriber = await startSubscriber({
      database: database.url,
      topics: [">"],
      since: null,
      from: "latest",
      stopAfter: all,
      tellEvery: Math.ceil(events / 50),
    });
    const holder = openRaw(database.url, 1);
    await holder`insert into pgstream.topics (name) values ('orders'), ('held')`;
    await holder`begin`;
    await holder`select pgstream.publish('held', '{}', notify => false) from generate_series(1, ${own}::integer)`;
    const buffers = await publishSteadily(context, database, { events, seconds, stretches });
    await subscriber.reaches(events - Math.ceil(events / 50));
    const committedAtMs = performance.now();
    await holder`commit`;
    await holder`select pg_notify('events', 'held')`;
    await holder.end({ timeout: 1 });
    const end = await subscriber.end;
    const ownMs = performance.now() - committedAtMs;
    // The late ones have the lowest ids of all.
    if (end.events !== all || end.backwards !== 1) {
      throw new DeliveryError(`${end.events} of ${all} events came, ${end.backwards} out of order`);
    }
    const { places } = subscriber;
    const [early = 0, late = 0] = [buffers[1], buffers.at(-1)];
    return {
      rows: [
        rowOfFigure({
          measure: `buffers an event, while a transaction is open: last of ${stretches} stretches of ${events.toLocaleString("en-US")}`,
          unit: "buffers",
          value: late / (events / stretches),
          beside: { value: early / (events / stretches), is: "their second" },
          must: (_, ratio) => ({ text: "≤ 1.1 ×", isReached: ratio <= 1.1 }),
          details: {
            events,
            seconds,
            buffersByStretch: buffers,
            cursorBytesGrown: growthOf(places, (it) => it.cursorBytes),
            rssMbGrown: growthOf(places, (it) => it.rssMb),
            peakRssMb: end.peakRssMb,
            idleRssMb: subscriber.idleRssMb,
            ownEventsAfterCommitMs: ownMs,
          },
        }),
      ],
    };
  },
};
