//! Hints over a model of the log: they come while somebody looks, handles, joins the tail or falls asleep. Nobody polls, so
//! an event whose hint was forgotten, or came before the event could be seen, waits for ever.

import { expect, test } from "bun:test";

import type { Log } from "../../../src/core/log.ts";
import type { EventHandler } from "../../../src/core/subscribe/event-handler.ts";
import { hintedTail } from "../../../src/core/tail/tail-hints.ts";
import { SharedTail, type Tail } from "../../../src/core/tail/tail.ts";
import { makeWakeupFlag } from "../../../src/core/wakeup-flag.ts";
import { noTail } from "../../support/no-tail.ts";
import { makeRandom, type Random, seededRandom } from "../../support/seed.ts";
import { type FakeLog, makeFakeLog } from "./fake-log.ts";
import { makeSubscription } from "./fake-subscription.ts";
import { limits, turn } from "./fake-tail.ts";
import { makeFakeClock, makeFakeLogger } from "./fakes.ts";
import { firstViolation, type HintPlant, plantedInHints } from "./planted.ts";

const subscribers = 3;
const laps = 15;
/** Whoever has something to do does something within a dozen. */
const quietTurns = 40;
const tooLateMs = 600_000;

const turns = async (count: number): Promise<void> => {
  for (let n = 0; n < count; n += 1) await turn();
};

/** Woken by its own flag, or by the tail's windows while it is in the tail. */
const openSubscriber = (database: FakeLog, random: Random, shared: Tail, plant: HintPlant) => {
  const plain = makeWakeupFlag(makeFakeClock());
  const flag = plant.flag?.(plain) ?? plain;
  const handled: bigint[] = [];
  let cursor: string | null = null;
  const handler: EventHandler = {
    cursor: async () => await Promise.resolve(cursor),
    handle: async (events, context) => {
      if (random.chance(0.3)) await turns(random.integer(1, 4));
      handled.push(...events.map(({ id }) => id));
      ({ cursor } = context);
    },
  };
  // Alone as while the tail is closed to it.
  const hinted = (plant.hinted ?? hintedTail)(random.chance(0.3) ? noTail : shared, flag.raise);
  const log: Log = {
    ...database.log,
    look: async (request) => {
      const look = await database.log.look(request);
      // Much happens while an answer is on its way.
      await turns(random.integer(0, 6));
      return look;
    },
  };
  const ports = { log, tail: hinted.tail, wakeups: flag };
  const { run, stop } = makeSubscription({ pollIntervalMs: tooLateMs }, handler, ports);
  return { handled, run, stop, onHint: hinted.onHint };
};

interface Tally {
  events: number;
  /** Hints that came while somebody was asking the log. */
  during: number;
}

const runHistory = async (seed: number, tally: Tally, plant: HintPlant = {}): Promise<void> => {
  const random = seededRandom(seed);
  const database = makeFakeLog();
  const clock = makeFakeClock();
  const plain = makeWakeupFlag(clock);
  const wakeups = plant.tailFlag?.(plain) ?? plain;
  const ports = { log: database.log, live: database.live, wakeups, clock, logger: makeFakeLogger() };
  const tail = new SharedTail(ports, limits);
  const all = Array.from({ length: subscribers }, () => openSubscriber(database, random, tail, plant));
  let asking = 0;
  const hint = (): void => {
    if (asking > 0) tally.during += 1;
    for (const raise of [wakeups.raise, ...all.map(({ onHint }) => onHint)]) raise();
  };
  database.before = async (call) => {
    asking += 1;
    await turns(random.integer(0, 3));
    asking -= 1;
    // All are put out then, and nobody may join until the next lap.
    if (call === "live" && random.chance(0.3)) throw new Error("planted: the tail's connection broke");
  };
  const ids: bigint[] = [];
  const publish = async (): Promise<void> => {
    await turns(random.integer(0, 12));
    const transaction = database.begin();
    for (let n = random.integer(1, 4); n > 0; n -= 1) ids.push(transaction.publish("a"));
    // One with nothing behind it comes whenever the listening connection is a new one.
    if (plant.isEarly === true || random.chance(0.5)) hint();
    await turns(random.integer(0, 12));
    transaction.commit();
    await turns(random.integer(0, 3));
    if (plant.isEarly !== true) hint();
  };
  const untilQuiet = async (): Promise<void> => {
    const sum = (): number => all.reduce((total, { handled }) => total + handled.length, 0);
    for (let quiet = 0, before = sum(); quiet < quietTurns; quiet += 1) {
      await turn();
      if (sum() > before) quiet = 0;
      before = sum();
    }
  };
  const stop = new AbortController();
  const running = [tail.run(stop.signal), ...all.map(async ({ run }) => await run())];
  try {
    for (let lap = 0; lap < laps; lap += 1) {
      await clock.pass(limits.pauseMs);
      await Promise.all(Array.from({ length: random.integer(1, 3) }, publish));
      await untilQuiet();
      for (const { handled } of all) {
        const missing = ids.filter((id) => !handled.includes(id));
        if (missing.length > 0) throw new Error(`no hint brought ${missing.join(", ")}`);
      }
    }
  } finally {
    for (const it of [stop, ...all.map((subscriber) => subscriber.stop)]) it.abort();
    await Promise.all(running);
  }
  tally.events += ids.length;
};

test("in 60 random histories hints alone bring every event to everybody, whatever they come upon", async () => {
  const { integer } = makeRandom("hint histories");
  const tally: Tally = { events: 0, during: 0 };
  for (let n = 0; n < 60; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      await runHistory(seed, tally);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  expect(tally.events).toBeGreaterThan(1_000);
  expect(tally.during).toBeGreaterThan(100);
}, 30_000);

for (const [bug, plant] of Object.entries(plantedInHints)) {
  test(`${bug} is caught`, async () => {
    const run = async (seed: number): Promise<void> =>
      await runHistory(seed, { events: 0, during: 0 }, plant);
    expect(await firstViolation(bug, 300, run)).toStartWith("no hint brought");
  }, 30_000);
}
