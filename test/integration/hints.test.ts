//! The hint that goes down the wire right behind its batch, against chance: commits that are held up, lanes that overtake each
//! other, readers that are just looking, handling or falling asleep. Nobody polls here, so a hint that is lost, that comes before
//! its events can be seen, or that is taken for an older one leaves a subscriber waiting for ever.

import { expect, test } from "bun:test";

import { messageOf } from "../../src/core/errors.ts";
import type { Publisher } from "../../src/core/publish/publisher.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { openPublisherWithEarlyHints } from "../support/early-hints.ts";
import { useLog } from "../support/log-of-file.ts";
import { makeRandom, type Random } from "../support/seed.ts";
import { type Subscriber, subscribe } from "../support/subscriber.ts";
import { waitFor, type WaitOptions } from "../support/wait-for.ts";

const log = useLog();

const tooLateMs = 600_000;
const topics = ["hints.a", "hints.b", "hints.c"];
const publisherName = "hinting";

interface Published {
  readonly topic: string;
  readonly ids: readonly bigint[];
}

/** Some calls at once; each takes a lane, or what a lane has left. */
const burst = async (random: Random, publishers: readonly Publisher[]): Promise<readonly Published[]> =>
  await Promise.all(
    Array.from({ length: random.integer(1, 6) }, async (): Promise<Published> => {
      const topic = random.pick(topics);
      const drafts = Array.from({ length: random.integer(1, 20) }, (_, n) => ({ topic, data: n }));
      return { topic, ids: await random.pick(publishers).publish(drafts) };
    }),
  );

/** A batch has been sent, and with it its hint, and cannot commit. */
const untilSomeBatchIsStuck = async (): Promise<void> => {
  await waitFor(async () => (await log.hands.sessions(publisherName)).some(({ waits }) => waits === "Lock"), {
    what: "a batch to wait",
    pollIntervalMs: 1,
  });
};

/** At times it is busy with a batch while the next hint comes. */
const busyAtTimes = (random: Random) => async (): Promise<void> => {
  if (random.chance(0.3)) await log.hands.sql`select pg_sleep(${random.random() / 100})`;
};

interface Reader {
  readonly wants: (topic: string) => boolean;
  readonly subscriber: Subscriber;
}

/** Subscribers of several topics each, who listen. */
const openReaders = async (stack: AsyncDisposableStack, random: Random): Promise<readonly Reader[]> => {
  const readers = [">", "hints.a", "hints.*", "hints.b"].map((pattern) => ({
    wants: (topic: string) => !pattern.startsWith("hints.") || pattern === "hints.*" || pattern === topic,
    subscriber: stack.use<Subscriber>(
      subscribe({
        database: log.url,
        topics: [pattern],
        pollIntervalMs: tooLateMs,
        work: busyAtTimes(random.fork()),
      }),
    ),
  }));
  await waitFor(async () => (await log.hands.sessions("tail listener")).length > 0, {
    what: "them to listen",
  });
  return readers;
};

const wantedOf = ({ wants }: Reader, published: readonly Published[]): readonly bigint[] =>
  published.filter(({ topic }) => wants(topic)).flatMap(({ ids }) => ids);

const hasCome = async (
  readers: readonly Reader[],
  published: readonly Published[],
  options: WaitOptions,
): Promise<void> => {
  for (const reader of readers) {
    const wanted = wantedOf(reader, published);
    const hasAll = (): boolean => new Set(wanted).isSubsetOf(new Set(reader.subscriber.ids));
    await waitFor(hasAll, { ...options, pollIntervalMs: 1 });
  }
};

/** Publishes one burst, which may not be able to commit for a while. */
const publishLap = async (
  random: Random,
  publishers: readonly Publisher[],
): Promise<readonly Published[]> => {
  const isHeldUp = random.chance(0.5);
  const release = isHeldUp ? await log.hands.hold("lock table pgstream.publishers in exclusive mode") : null;
  const calls = burst(random, publishers);
  if (release !== null) {
    await untilSomeBatchIsStuck();
    // Whoever was woken too early has looked in vain by now.
    if (random.chance(0.5)) await log.hands.sql`select pg_sleep(0.02)`;
    await release();
  }
  return await calls;
};

/** Fails on the first lap whose events their hints have not brought, and then leaves them in `published`. */
const runLaps = async (
  random: Random,
  publishers: readonly Publisher[],
  readers: readonly Reader[],
  { laps, deadlineMs, published }: { laps: number; deadlineMs: number; published: Published[] },
): Promise<void> => {
  for (let lap = 0; lap < laps; lap += 1) {
    published.push(...(await publishLap(random, publishers)));
    await hasCome(readers, published, { what: `what lap ${lap} published, by its hints`, deadlineMs });
  }
};

const ascending = (ids: readonly bigint[]): readonly bigint[] => ids.toSorted((a, b) => Number(a - b));

test("hints alone bring every event to every subscriber, whenever they are sent", async () => {
  const random = makeRandom("hints behind batches");
  await using stack = new AsyncDisposableStack();
  const publishers = [1, 2, 3].map((connections) =>
    stack.use(
      openPublisher({ database: log.url, name: publisherName, connections, furtherLaneEventsMin: 1 }),
    ),
  );
  const readers = await openReaders(stack, random);
  const published: Published[] = [];
  await runLaps(random, publishers, readers, { laps: 60, deadlineMs: 10_000, published });
  for (const reader of readers) {
    expect(ascending(reader.subscriber.ids)).toEqual(ascending(wantedOf(reader, published)));
  }
}, 60_000);

test("a hint that goes ahead of its batch, on another connection, is caught", async () => {
  const random = makeRandom("hints ahead of batches");
  await using stack = new AsyncDisposableStack();
  const publisher = stack.use(openPublisherWithEarlyHints(log.url, publisherName));
  const readers = await openReaders(stack, random);
  const byAHintInTime = async (): Promise<void> => {
    await log.hands.sql`select pg_notify('events', '')`;
    await hasCome(readers, published, { what: "what was published, by a hint behind it" });
  };
  // Who is not there yet has not been woken too early.
  const published = [...(await publishLap(random, [publisher]))];
  await byAHintInTime();
  const laps = runLaps(random, [publisher], readers, { laps: 60, deadlineMs: 1_000, published });
  expect(await laps.then(() => "nothing is wrong", messageOf)).toContain("by its hints");
  // Nothing else was wrong.
  await byAHintInTime();
}, 60_000);
