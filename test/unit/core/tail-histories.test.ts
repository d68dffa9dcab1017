//! The shared tail over a model of the log: subscriptions that join, lag, are put out, stop and go on, while everything
//! else happens between any two calls.

import { expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import type { Cursor } from "../../../src/core/cursor.ts";
import type { Follower } from "../../../src/core/tail/follower.ts";
import { makeRandom, seededRandom } from "../../support/seed.ts";
import { type FakeLog, type FakeTransaction, makeFakeLog } from "./fake-log.ts";
import { earliest, limits, openTail, turn } from "./fake-tail.ts";
import { firstViolation, plantedInTail, type TailPlant } from "./planted.ts";

interface Written {
  readonly topic: string;
  readonly startedAt: number;
  readonly committedAt: number;
}

/** What one subscription has been given so far; throws on the first thing that is wrong. */
class Audience {
  readonly pattern: string;
  readonly delivered = new Set<bigint>();
  cursor: Cursor;
  follower: Follower | null = null;
  #latestStart = -1;

  constructor(pattern: string, cursor: Cursor) {
    this.pattern = pattern;
    this.cursor = cursor;
  }

  take(id: bigint, written: Written | undefined): void {
    if (written === undefined) throw new Error(`${id} was never committed`);
    if (written.committedAt < this.#latestStart) throw new Error(`${id} is out of order`);
    if (this.delivered.has(id)) throw new Error(`${id} came twice`);
    if (!this.wants(written.topic)) throw new Error(`${id} is not wanted`);
    this.#latestStart = Math.max(this.#latestStart, written.startedAt);
    this.delivered.add(id);
  }

  wants(topic: string): boolean {
    return this.pattern === ">" || this.pattern === topic;
  }
}

/** Transactions that begin, publish, commit and roll back; at any call of the log as well as between the steps. */
const makeWriters = (database: FakeLog, random: ReturnType<typeof seededRandom>) => {
  const open: { transaction: FakeTransaction; topics: Map<bigint, string>; startedAt: number }[] = [];
  const committed = new Map<bigint, Written>();
  let step = 0;
  const write = (): void => {
    step += 1;
    const what = random.random();
    const some = open.length === 0 ? undefined : random.pick(open);
    if (what < 0.25) open.push({ transaction: database.begin(), topics: new Map(), startedAt: Infinity });
    else if (what < 0.6 && some !== undefined) {
      some.startedAt = Math.min(some.startedAt, step);
      const topic = random.pick(["a", "b", `new${random.integer(0, 4)}`]);
      some.topics.set(some.transaction.publish(topic, "x".repeat(random.integer(1, 9))), topic);
    } else if (what < 0.9 && some !== undefined) {
      open.splice(open.indexOf(some), 1);
      if (random.chance(0.2)) some.transaction.rollback();
      else {
        some.transaction.commit();
        for (const [id, topic] of some.topics) {
          committed.set(id, { topic, startedAt: some.startedAt, committedAt: step });
        }
      }
    } else if (what < 0.95) database.tick();
  };
  return { write, committed };
};

interface Tally {
  events: number;
  together: number;
  alone: number;
  rejoined: number;
}

const runHistory = async (seed: number, tally: Tally, plant: TailPlant = {}): Promise<void> => {
  const random = seededRandom(seed);
  const database = makeFakeLog();
  database.cutsFirst = () => random.chance(0.1);
  database.ticksAhead = () => random.integer(1, 4);
  database.asksForNewsLater = () => random.chance(0.5);
  const { write, committed } = makeWriters(database, random);
  const start = await earliest(database);
  // Puts members out all the time, now and then, or never.
  await using tail = openTail(database, { lagEventsMax: random.pick([8, 20, 1_000]) }, plant);
  // Where nobody wants all, the topics that it asks for come and go with its members.
  const patterns = random.pick([
    [">", ">", "a", "b", "new1"],
    ["a", "a", "b", "new1", "new2"],
  ]);
  const audiences = patterns.map((pattern) => new Audience(pattern, start));
  // The tail's reads may stay on their way for many steps.
  let arrival = Promise.withResolvers<void>();
  const arrive = (): void => {
    arrival.resolve();
    arrival = Promise.withResolvers<void>();
  };
  const hurry = (): void => {
    database.before = () => {};
    arrive();
  };
  // Also when something is wrong: the tail does not end before its reads have.
  using _ = { [Symbol.dispose]: hurry };
  database.before = async (call) => {
    if ((call === "live" || call === "answer") && random.chance(0.4)) await arrival.promise;
    if (random.chance(0.3)) write();
    if (random.chance(0.3)) await turn();
    if (random.chance(0.02)) throw new Error("planted: the connection broke");
  };
  const read = async (audience: Audience): Promise<boolean> => {
    audience.follower ??= tail.follow(audience.cursor, audience.pattern, random.integer(1, 4));
    const wasTogether = audience.follower.isTogether();
    try {
      const batch = await audience.follower.next();
      if (!wasTogether && audience.follower.isTogether()) tally.rejoined += 1;
      if (batch === null) return false;
      if (wasTogether) tally.together += batch.events.length;
      else tally.alone += batch.events.length;
      for (const { id } of batch.events) audience.take(id, committed.get(id));
      audience.cursor = decodeCursor(encodeCursor(batch.cursor));
      if (!random.chance(0.1)) return true;
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("planted")) throw error;
    }
    // Its process is gone; the next one goes on from what was stored.
    audience.follower.leave();
    audience.follower = null;
    return true;
  };
  for (let step = 0; step < 250; step += 1) {
    if (random.chance(0.4)) write();
    else if (random.chance(0.2)) arrive();
    else if (random.chance(0.3)) tail.wakeups.raise();
    else if (random.chance(0.25)) await turn();
    // The last one is slow.
    else
      await read(
        random.chance(0.9) ? random.pick(audiences.slice(1)) : (audiences[0] ?? random.pick(audiences)),
      );
  }
  hurry();
  await tail.settle();
  await tail.clock.pass(limits.pauseMs);
  for (let quiet = 0; quiet < 4;) {
    await tail.settle();
    quiet += 1;
    for (const audience of audiences) if (await read(audience)) quiet = 0;
  }
  for (const audience of audiences) {
    const lost = [...committed].filter(
      ([id, { topic }]) => audience.wants(topic) && !audience.delivered.has(id),
    );
    if (lost.length > 0) throw new Error(`${audience.pattern} lost ${lost.map(([id]) => id).join(", ")}`);
    tally.events += audience.delivered.size;
  }
  if (!audiences.every((it) => it.follower?.isTogether() === true)) throw new Error("somebody stays alone");
};

const emptyTally = (): Tally => ({ events: 0, together: 0, alone: 0, rejoined: 0 });

test("in 60 random histories nobody loses, repeats or reorders, whoever joins, lags or stops, wherever", async () => {
  const { integer } = makeRandom("tail histories");
  const tally = emptyTally();
  for (let n = 0; n < 60; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      await runHistory(seed, tally);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  expect(tally.events).toBeGreaterThan(1_000);
  expect(tally.together).toBeGreaterThan(80);
  expect(tally.alone).toBeGreaterThan(80);
  expect(tally.rejoined).toBeGreaterThan(80);
});

for (const [bug, plant] of Object.entries(plantedInTail)) {
  test(`${bug} is caught`, async () => {
    const run = async (seed: number): Promise<void> => await runHistory(seed, emptyTally(), plant);
    expect(await firstViolation(bug, 2_000, run)).toMatch(/ lost |came twice|out of order/);
  }, 60_000);
}
