//! A hundred thousand topics, made by publishing to them while a wildcard is subscribed: it sees them all, without a restart.

import { openPublisher } from "../../src/library/publisher.ts";
import { DeliveryError, type Measure, scaled } from "../context.ts";
import { rowOfFigure } from "./rows.ts";
import { startSubscriber } from "./subscriber-process.ts";

const batch = 1_000;

export const growthTopics: Measure = {
  name: "growth-topics",
  about: "100,000 topics made while a wildcard is subscribed",
  run: async (context) => {
    const topics = scaled(context, 100_000, batch);
    await using database = await context.createDatabase();
    const job = {
      database: database.url,
      topics: ["made.*"],
      since: null,
      from: "latest",
      stopAfter: topics,
      tellEvery: batch,
    } as const;
    await using subscriber = await startSubscriber(job);
    const meter = await context.startMeter();
    const startedAtMs = performance.now();
    await using publisher = openPublisher({ database: database.url });
    for (let n = 0; n < topics; n += batch) {
      context.signal.throwIfAborted();
      await publisher.publish(
        Array.from({ length: batch }, (_, index) => ({ topic: `made.${n + index}`, data: { n: n + index } })),
      );
    }
    const publishedAtMs = performance.now();
    const end = await subscriber.end;
    const lagMs = performance.now() - publishedAtMs;
    if (end.events !== topics || end.backwards > 0) {
      throw new DeliveryError(`${end.events} of ${topics} events came, ${end.backwards} out of order`);
    }
    return {
      rows: [
        rowOfFigure({
          measure: `${topics.toLocaleString("en-US")} new topics, read by a wildcard as they come`,
          unit: "events/s",
          value: topics / ((publishedAtMs - startedAtMs) / 1_000),
          usage: await meter.read(),
          details: { topics, lagMs, idleRssMb: subscriber.idleRssMb, peakRssMb: end.peakRssMb },
        }),
      ],
    };
  },
};
