//! Reading ahead over a model of the log: while pages are on their way, and while they wait to be taken, transactions begin
//! and commit, retention removes events, calls fail, and the reader is sent elsewhere or stops.

import { expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import type { TopicGap } from "../../../src/core/gap.ts";
import type { Log } from "../../../src/core/log.ts";
import { makeReader, type Reader } from "../../../src/core/read/reader.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { makeRandom, type Random, seededRandom } from "../../support/seed.ts";
import { type FakeLog, type FakeTransaction, makeFakeLog } from "./fake-log.ts";
import { earliest, turn } from "./fake-tail.ts";
import { firstViolation, plantedInReadAhead, type ReadAheadPlant } from "./planted.ts";

const topics = ["a", "a", "b", "c", "d", "e", "f"];

interface Written {
  readonly topic: string;
  readonly startedAt: number;
  readonly committedAt: number;
}

/** Transactions, ticks and purges, one step at a time. */
const makeWorld = (database: FakeLog, random: Random) => {
  const open: { transaction: FakeTransaction; topics: Map<bigint, string>; startedAt: number }[] = [];
  const committed = new Map<bigint, Written>();
  let now = 0;
  const commit = (index: number): void => {
    const [it] = open.splice(index, 1);
    it?.transaction.commit();
    for (const [id, topic] of it?.topics ?? []) {
      committed.set(id, { topic, startedAt: it?.startedAt ?? 0, committedAt: now });
    }
  };
  /** Of one of the newest: chances are that it has not been read. */
  const purge = (): void => {
    const newest = [...committed].slice(-8);
    if (newest.length === 0) return;
    const [id, { topic }] = random.pick(newest);
    database.purge(topic, id);
  };
  const step = (): void => {
    now += 1;
    const what = random.random();
    const index = random.integer(0, Math.max(open.length - 1, 0));
    const some = open[index];
    if (what < 0.2 || some === undefined) {
      open.push({ transaction: database.begin(), topics: new Map(), startedAt: Infinity });
    } else if (what < 0.6) {
      some.startedAt = Math.min(some.startedAt, now);
      for (let n = random.integer(1, 6); n > 0; n -= 1) {
        const topic = random.pick(topics);
        some.topics.set(some.transaction.publish(topic, "x".repeat(random.integer(1, 9))), topic);
      }
    } else if (what < 0.85) commit(index);
    else if (what < 0.88) {
      open.splice(index, 1);
      some.transaction.rollback();
    } else database.tick();
  };
  const settle = (): void => {
    while (open.length > 0) commit(0);
  };
  return { step, purge, settle, committed };
};

/** One connection: the log gets to a call when it has answered the one before. */
const oneAtATime = (log: Log): Log => {
  let line: Promise<unknown> = Promise.resolve();
  const send = async <T>(call: () => Promise<T>): Promise<T> => {
    const answer = line.then(call);
    line = answer.catch(() => {});
    return await answer;
  };
  return {
    ...log,
    look: async (request) => await send(async () => await log.look(request)),
    firstPage: async (request) => await send(async () => await log.firstPage(request)),
    windowEnd: async (request) => await send(async () => await log.windowEnd(request)),
    nextPage: async (request, end) => await send(async () => await log.nextPage(request, end)),
    purgedTopics: async (...request) => await send(async () => await log.purgedTopics(...request)),
  };
};

interface Tally {
  events: number;
  gaps: number;
  failures: number;
  /** Pages that were asked for while nobody waited for one. */
  ahead: number;
}

const emptyTally = (): Tally => ({ events: 0, gaps: 0, failures: 0, ahead: 0 });

/** What a reader was given and told; throws on the first thing that is wrong. */
class Audience {
  readonly delivered = new Set<bigint>();
  readonly told: TopicGap[] = [];
  #latestStart = -1;

  take(id: bigint, written: Written | undefined): void {
    if (written === undefined) throw new Error(`${id} was never committed`);
    if (this.delivered.has(id)) throw new Error(`${id} came twice`);
    if (written.committedAt < this.#latestStart) throw new Error(`${id} is out of order`);
    this.#latestStart = Math.max(this.#latestStart, written.startedAt);
    this.delivered.add(id);
  }

  /** What did not come was told: at least as much, and exactly as much where that was said. */
  checkGaps(committed: ReadonlyMap<bigint, Written>): void {
    for (const topic of new Set(topics)) {
      const missing = [...committed].filter(([id, it]) => it.topic === topic && !this.delivered.has(id));
      const own = this.told.filter((it) => it.topic === topic);
      const sum = own.reduce((total, { events }) => total + events, 0);
      if (sum < missing.length) throw new Error(`${topic} lost ${missing.length}, and told of ${sum}`);
      if (own.every(({ exact }) => exact) && sum > missing.length) {
        throw new Error(`${topic} told of ${sum}, and lost ${missing.length}`);
      }
    }
  }
}

const planted = "planted: the connection broke";

const runHistory = async (
  seed: number,
  tally: Tally,
  plant: ReadAheadPlant = (log) => log,
): Promise<void> => {
  const random = seededRandom(seed);
  const database = makeFakeLog();
  database.cutsFirst = () => random.chance(0.1);
  database.ticksAhead = () => random.integer(1, 4);
  const world = makeWorld(database, random);
  const log = plant(oneAtATime(database.log));
  const audience = new Audience();
  let cursor = await earliest(database);
  let reader: Reader | null = null;
  let isWaiting = false;
  database.before = async (call) => {
    if (!isWaiting && call !== "look") tally.ahead += 1;
    for (let n = random.integer(0, 2); n > 0; n -= 1) {
      if (random.chance(0.4)) world.step();
      if (random.chance(0.4)) await turn();
    }
    // Retention likes to come in front of a page that has been asked for.
    if (call.endsWith("Page") && random.chance(0.05)) world.purge();
    if (random.chance(0.02)) throw new Error(planted);
  };
  const open = (): Reader =>
    makeReader(log, cursor, {
      filter: parseTopicPatterns(random.pick([[">"], topics])),
      epoch: database.newestEpoch(),
      batchEventsMax: random.integer(1, 4),
      pageEventsMax: random.integer(1, 6),
      pageBytesMax: random.integer(1, 30),
      onGap: (gap) => {
        audience.told.push(...gap);
        tally.gaps += 1;
      },
    });
  const read = async (): Promise<boolean> => {
    reader ??= open();
    try {
      isWaiting = true;
      const batch = await reader.next();
      if (batch === null) return false;
      for (const { id } of batch.events) audience.take(id, world.committed.get(id));
      cursor = decodeCursor(encodeCursor(batch.cursor));
      const next = random.random();
      if (next < 0.05) await reader.goTo(cursor, null);
      else if (next < 0.1) reader = null;
    } catch (error) {
      if (!(error instanceof Error) || error.message !== planted) throw error;
      tally.failures += 1;
      if (random.chance(0.5)) reader = null;
    } finally {
      isWaiting = false;
    }
    return true;
  };
  for (let step = 0; step < 200; step += 1) {
    if (random.chance(0.5)) world.step();
    else if (random.chance(0.4)) await turn();
    else await read();
  }
  world.settle();
  database.before = () => {};
  while (await read());
  audience.checkGaps(world.committed);
  tally.events += audience.delivered.size;
};

test("in 80 random histories nothing is lost in silence, repeated or out of order, whatever happens to the pages ahead", async () => {
  const { integer } = makeRandom("read-ahead histories");
  const tally = emptyTally();
  for (let n = 0; n < 80; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      await runHistory(seed, tally);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  for (const [what, count] of Object.entries(tally)) expect([what, count > 50]).toEqual([what, true]);
}, 30_000);

for (const [bug, { plant, breaks }] of Object.entries(plantedInReadAhead)) {
  test(`${bug} is caught`, async () => {
    const run = async (seed: number): Promise<void> => await runHistory(seed, emptyTally(), plant);
    expect(await firstViolation(bug, 1_000, run)).toMatch(breaks);
  }, 60_000);
}
