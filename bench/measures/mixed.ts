//! All at once: four publishers and three subscribers in one process, first as fast as the publishers can, then at half that
//! rate by the clock. Each subscriber commits its cursor per batch. Lag is from the call of publish to the handler that
//! has the event in its hands. There is no limit beside it, so one round each.

import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

import { type Checker, makeChecker } from "../checker.ts";
import type { BenchContext, Measure } from "../context.ts";
import { openCursor } from "../cursor-table.ts";
import { type Draft, makeEventFactory } from "../events.ts";
import { openPublishers, openReader, type Publisher } from "../log.ts";
import { type Outcome, rowsOf } from "./mixed-outcome.ts";

const publisherCount = 4;
const subscriberCount = 3;
const listSize = 100;
const callsInFlight = 8;
const fullMs = 60_000;
const shortestMs = 1_000;
const drainDeadlineMs = 120_000;

/** What is published, numbered so that a number tells the publisher: event n is of publisher n modulo 4. */
const makeStream = () => {
  const factory = makeEventFactory(publisherCount);
  const calledAtMs: number[][] = Array.from({ length: publisherCount }, () => []);
  const sentBy = (publisher: number): number => (calledAtMs[publisher]?.length ?? 0) * listSize;
  return {
    /** The publisher's next list; it is on its way from now on. */
    next: (publisher: number): readonly Draft[] => {
      const first = sentBy(publisher);
      const list = Array.from({ length: listSize }, (_, index) =>
        factory.draft((first + index) * publisherCount + publisher, publisher),
      );
      calledAtMs[publisher]?.push(performance.now());
      return list;
    },
    draft: (n: number): Draft | undefined => {
      const publisher = n % publisherCount;
      return Math.floor(n / publisherCount) < sentBy(publisher) ? factory.draft(n, publisher) : undefined;
    },
    lagMs: (n: number): number => {
      const index = Math.floor(n / publisherCount / listSize);
      return performance.now() - (calledAtMs[n % publisherCount]?.[index] ?? 0);
    },
    published: (): readonly number[] => [...calledAtMs.keys()].map(sentBy),
    total: (): number => calledAtMs.reduce((sum, calls) => sum + calls.length * listSize, 0),
  };
};
type Stream = ReturnType<typeof makeStream>;

interface Listener {
  readonly checker: Checker;
  /** In microseconds. */
  readonly lag: RecordableHistogram;
}

const makeListener = (name: string, stream: Stream): Listener => {
  const lag = createHistogram();
  const checker = makeChecker(name, stream);
  return {
    lag,
    checker: {
      ...checker,
      see: (event) => {
        checker.see(event);
        lag.record(Math.max(1, Math.round(stream.lagMs((event.data as Draft["data"]).n) * 1_000)));
      },
    },
  };
};

/** As fast as it goes: so many calls in flight, each answered before its next. */
const publishFlatOut = async (publisher: Publisher, next: () => readonly Draft[], endsAtMs: number) => {
  await Promise.all(
    Array.from({ length: callsInFlight }, async () => {
      while (performance.now() < endsAtMs) await publisher.publish(next());
    }),
  );
};

/** By the clock, whatever became of earlier calls. */
const publishAtRate = async (
  publisher: Publisher,
  next: () => readonly Draft[],
  { startsAtMs, endsAtMs, intervalMs }: Readonly<Record<"startsAtMs" | "endsAtMs" | "intervalMs", number>>,
): Promise<void> => {
  const answers = new Set<Promise<unknown>>();
  for (let dueAtMs = startsAtMs; dueAtMs < endsAtMs; dueAtMs += intervalMs) {
    const waitMs = dueAtMs - performance.now();
    if (waitMs > 0) await Bun.sleep(waitMs);
    const answer = publisher.publish(next());
    answers.add(answer);
    void answer.then(() => answers.delete(answer));
  }
  await Promise.all(answers);
};

const waitForAll = async (
  listeners: readonly Listener[],
  total: number,
  signal: AbortSignal,
): Promise<void> => {
  const endsAtMs = performance.now() + drainDeadlineMs;
  while (listeners.some(({ checker }) => checker.count() < total)) {
    signal.throwIfAborted();
    if (performance.now() > endsAtMs) break;
    await Bun.sleep(5);
  }
  for (const { checker } of listeners) checker.finish();
};

/** @param rate events a second over all publishers; null as fast as it goes */
const play = async (context: BenchContext, forMs: number, rate: number | null): Promise<Outcome> => {
  await using database = await context.createDatabase();
  await using opened = new AsyncDisposableStack();
  const { publishers } = opened.use(await openPublishers(database.url, publisherCount));
  const stream = makeStream();
  const listeners = Array.from({ length: subscriberCount }, (_, n) => makeListener(`mixed-${n}`, stream));
  const failures: Promise<void>[] = [];
  for (const [index, { checker }] of listeners.entries()) {
    const cursor = opened.use(await openCursor(database.url, `mixed-${index}`));
    const reader = opened.use(
      openReader({ database: database.url, from: "latest", until: Infinity, cursor, checker }),
    );
    failures.push(reader.failed);
    await reader.live();
  }
  await context.checkpoint();
  const meter = await context.startMeter();
  const startsAtMs = performance.now();
  const endsAtMs = startsAtMs + forMs;
  const publishing = publishers.map(async (publisher, index) => {
    const next = (): readonly Draft[] => stream.next(index);
    if (rate === null) {
      await publishFlatOut(publisher, next, endsAtMs);
      return;
    }
    const intervalMs = (1_000 * listSize * publisherCount) / rate;
    // Their beats do not fall together.
    const offsetMs = (index * intervalMs) / publisherCount;
    await publishAtRate(publisher, next, { startsAtMs: startsAtMs + offsetMs, endsAtMs, intervalMs });
  });
  await Promise.race([Promise.all(publishing), ...failures]);
  const publishedMs = performance.now() - startsAtMs;
  const total = stream.total();
  const handled = listeners.map(({ checker }) => checker.count());
  context.say(`  ${total.toLocaleString("en-US")} events published`);
  const drainStartedAtMs = performance.now();
  await Promise.race([waitForAll(listeners, total, context.signal), ...failures]);
  return {
    forMs,
    events: total,
    eventsPerSecond: (total * 1_000) / publishedMs,
    usage: await meter.read(),
    drainMs: performance.now() - drainStartedAtMs,
    published: stream.published(),
    subscribers: listeners.map(({ lag }, index) => ({
      handled: handled[index] ?? 0,
      lagP50Ms: lag.percentile(50) / 1_000,
      lagP99Ms: lag.percentile(99) / 1_000,
      lagMsMax: lag.max / 1_000,
    })),
  };
};

export const mixed: Measure = {
  name: "mixed",
  about: "4 publishers and 3 subscribers at once for 60 s, flat out and at half the rate",
  run: async (context) => {
    const forMs = Math.max(shortestMs, fullMs * context.scale);
    const flatOut = await play(context, forMs, null);
    const toldOf = ({ subscribers }: Outcome): string =>
      subscribers.map((it) => `p50 ${it.lagP50Ms.toFixed(1)} p99 ${it.lagP99Ms.toFixed(1)} ms`).join("; ");
    context.say(`  flat out: ${Math.round(flatOut.eventsPerSecond)} events/s, lag ${toldOf(flatOut)}`);
    context.signal.throwIfAborted();
    const half = await play(context, forMs, flatOut.eventsPerSecond / 2);
    context.say(`  half: ${Math.round(half.eventsPerSecond)} events/s, lag ${toldOf(half)}`);
    const latency = context.rowsSoFar().find(({ measure }) => measure === "latency, p99");
    return { rows: rowsOf(flatOut, half, latency) };
  },
};
