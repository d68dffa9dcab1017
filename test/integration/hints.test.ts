//! The hint that goes down the wire right behind its batch, against chance: commits that are held up, lanes that overtake each
//! other, readers that are just looking, handling or falling asleep. Nobody polls here, so a hint that is lost, that comes before
//! its events can be seen, or that is taken for an older one leaves a subscriber waiting for ever.

import { expect, test } from "bun:test";

import type { Publisher } from "../../src/core/publish/publisher.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { useLog } from "../support/log-of-file.ts";
import { makeRandom, type Random } from "../support/seed.ts";
import { type Subscriber, subscribe } from "../support/subscriber.ts";
import { waitFor } from "../support/wait-for.ts";

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

test("hints alone bring every event to every subscriber, whenever they are sent", async () => {
  const random = makeRandom("hints behind batches");
  await using stack = new AsyncDisposableStack();
  const publishers = [1, 2, 3].map((connections) =>
    stack.use(
      openPublisher({ database: log.url, name: publisherName, connections, furtherLaneEventsMin: 1 }),
    ),
  );
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

  const published: Published[] = [];
  for (let lap = 0; lap < 60; lap += 1) {
    const isHeldUp = random.chance(0.5);
    const release = isHeldUp
      ? await log.hands.hold("lock table pgstream.publishers in exclusive mode")
      : null;
    const calls = burst(random, publishers);
    if (release !== null) {
      await untilSomeBatchIsStuck();
      // Whoever was woken too early has looked in vain by now.
      if (random.chance(0.5)) await log.hands.sql`select pg_sleep(0.02)`;
      await release();
    }
    published.push(...(await calls));
    for (const { wants, subscriber } of readers) {
      const wanted = published
        .filter(({ topic }) => wants(topic))
        .reduce((sum, { ids }) => sum + ids.length, 0);
      await waitFor(() => subscriber.ids.length >= wanted, {
        what: `what was published up to lap ${lap}, by its hints`,
        pollIntervalMs: 1,
      });
    }
  }
  for (const { wants, subscriber } of readers) {
    const wanted = published.filter(({ topic }) => wants(topic)).flatMap(({ ids }) => ids);
    expect(subscriber.ids.toSorted((a, b) => Number(a - b))).toEqual(
      wanted.toSorted((a, b) => Number(a - b)),
    );
  }
}, 60_000);
