//! Readers who catch up while everything happens to the log: with small pages, cursors taken up again with other page sizes,
//! calls that fail, gaps that are refused at first, and things that happen between any two of their statements. Each gets
//! what it wants once and in order, and is told of everything that it does not get.

import { expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../src/core/cursor-codec.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import type { TopicGap } from "../../src/core/gap.ts";
import type { Epoch, Log } from "../../src/core/log.ts";
import { makeReader, type Reader } from "../../src/core/read/reader.ts";
import { startCursor } from "../../src/core/read/start.ts";
import { parseTopicPatterns, type TopicFilter } from "../../src/core/topic.ts";
import { makeRandomWorld, type RandomWorld, type WrittenEvent } from "../support/random-world.ts";
import { openReadBench } from "../support/read-bench.ts";
import { makeRandom, type Random } from "../support/seed.ts";

const stepsPerWorld = 500;
const worlds = 4;
const wanted = [[">"], [">"], ["t"], ["rare"], ["t", "u", "v.*"], ["v.*"], ["rare", "v.a"]];

class PlantedError extends Error {}

/** The log, where calls fail now and then, and the world goes on in between. */
const makeUnruly = (log: Log, world: RandomWorld, random: Random) => {
  const state = { isUnruly: true };
  // The world takes one step at a time.
  let steps: Promise<unknown> = Promise.resolve();
  const goOn = async (): Promise<void> => {
    const step = steps.then(world.step);
    steps = step.catch(() => undefined);
    await step;
  };
  const happen = async (): Promise<void> => {
    if (state.isUnruly && random.chance(0.1)) await goOn();
  };
  // Whatever happens before, calls go down in the order in which they are made: a page, and then the look behind it.
  let line: Promise<unknown> = Promise.resolve();
  const send = async <T>(call: () => Promise<T>): Promise<T> => {
    const sent = line.then(async () => {
      await happen();
      return { answer: call() };
    });
    line = sent.catch(() => undefined);
    return await (
      await sent
    ).answer;
  };
  const around = async <T>(call: () => Promise<T>): Promise<T> => {
    const answer = await send(call);
    if (state.isUnruly && random.chance(0.02)) throw new PlantedError("the connection broke");
    await happen();
    return answer;
  };
  const unruly: Log = {
    ...log,
    look: async (request) => await around(async () => await log.look(request)),
    firstPage: async (request) => await around(async () => await log.firstPage(request)),
    windowEnd: async (request) => await around(async () => await log.windowEnd(request)),
    nextPage: async (request, end) => await around(async () => await log.nextPage(request, end)),
    purgedTopics: async (...request) => await around(async () => await log.purgedTopics(...request)),
  };
  return { log: unruly, goOn, calmDown: () => (state.isUnruly = false) };
};

interface Start {
  readonly epoch: Epoch;
  readonly cursor: Cursor;
}

class Follower {
  readonly filter: TopicFilter;
  readonly ids: bigint[] = [];
  readonly told: TopicGap[] = [];
  readonly #log: Log;
  readonly #epoch: Epoch;
  readonly #random: Random;
  #stored: string;
  #reader: Reader | null = null;

  constructor(log: Log, { epoch, cursor }: Start, patterns: readonly string[], random: Random) {
    this.filter = parseTopicPatterns(patterns);
    this.#log = log;
    this.#epoch = epoch;
    this.#random = random;
    this.#stored = encodeCursor(cursor);
  }

  restart(): void {
    this.#reader = null;
  }

  /** Answers whether there was nothing more. */
  async read(batchesMax: number): Promise<boolean> {
    for (let n = 0; n < batchesMax; n += 1) {
      try {
        this.#reader ??= this.#open();
        const batch = await this.#reader.next();
        if (batch === null) return true;
        this.ids.push(...batch.events.map(({ id }) => id));
        this.#stored = encodeCursor(batch.cursor);
        if (this.#random.chance(0.05)) await this.#reader.goTo(batch.cursor, null);
      } catch (error) {
        if (!(error instanceof PlantedError)) throw error;
        if (this.#random.chance(0.5)) this.restart();
      }
    }
    return false;
  }

  #open(): Reader {
    return makeReader(this.#log, decodeCursor(this.#stored), {
      filter: this.filter,
      epoch: this.#epoch,
      batchEventsMax: this.#random.integer(1, 12),
      pageEventsMax: this.#random.integer(1, 40),
      pageBytesMax: 2 ** 20,
      onGap: (gap) => {
        if (this.#random.chance(0.3)) throw new PlantedError("the gap is refused");
        this.told.push(...gap);
      },
    });
  }
}

const checkOrder = (ids: readonly bigint[], written: ReadonlyMap<bigint, WrittenEvent>): void => {
  expect(new Set(ids).size, "each once").toBe(ids.length);
  let latest = 0;
  for (const id of ids) {
    const event = written.get(id);
    if (event === undefined) throw new Error(`${id} was never committed`);
    if (event.committedAt < latest) throw new Error(`${id} is out of order`);
    latest = Math.max(latest, event.beganAt);
  }
};

/** What did not come was told: at least as much, and exactly as much where it was said to be exact. */
const checkGaps = ({ ids, told, filter }: Follower, committed: readonly WrittenEvent[]): void => {
  const came = new Set(ids);
  const absent = committed.filter(({ id, topic }) => filter.matches(topic) && !came.has(id));
  const counts = Map.groupBy(absent, ({ topic }) => topic);
  for (const topic of new Set([...counts.keys(), ...told.map((it) => it.topic)])) {
    const own = told.filter((it) => it.topic === topic);
    const sum = own.reduce((total, { events }) => total + events, 0);
    const missing = counts.get(topic)?.length ?? 0;
    if (own.every(({ exact }) => exact)) expect(sum, `events of ${topic} told`).toBe(missing);
    else expect(sum, `events of ${topic} told`).toBeGreaterThanOrEqual(missing);
  }
};

for (let n = 0; n < worlds; n += 1) {
  const purges = n % 2 === 0;
  test(`in a random world ${purges ? "with" : "without"} retention nothing is lost, repeated, out of order or left out in silence`, async () => {
    const random = makeRandom("random world");
    await using bench = await openReadBench();
    const world = await makeRandomWorld(bench, random.fork(), purges);
    const { log, goOn, calmDown } = makeUnruly(bench.log, world, random.fork());
    const { newest: epoch } = await bench.log.epoch();
    const start = { epoch, cursor: await startCursor(bench.log, epoch, { kind: "earliest" }) };
    const followers = wanted.map((patterns) => new Follower(log, start, patterns, random.fork()));
    for (let step = 0; step < stepsPerWorld; step += 1) {
      await goOn();
      if (random.chance(0.04)) await random.pick(followers).read(random.integer(1, 12));
      if (random.chance(0.02)) random.pick(followers).restart();
    }
    calmDown();
    await world.settle();
    for (const follower of followers) while (!(await follower.read(1_000)));
    const written = new Map(world.committed.map((event) => [event.id, event]));
    for (const follower of followers) {
      checkOrder(follower.ids, written);
      expect(follower.ids.every((id) => follower.filter.matches(written.get(id)?.topic ?? ""))).toBe(true);
      checkGaps(follower, world.committed);
      if (!purges) expect(follower.told).toEqual([]);
    }
    expect(world.committed.length).toBeGreaterThan(20);
  }, 60_000);
}
