//! Hints for who comes to the shared tail and is put out of it, case by case; hint-histories.test.ts has all of it at random.

import { expect, test } from "bun:test";

import type { Log } from "../../../src/core/log.ts";
import { hintedTail } from "../../../src/core/tail/tail-hints.ts";
import { SharedTail } from "../../../src/core/tail/tail.ts";
import { makeWakeupFlag } from "../../../src/core/wakeup-flag.ts";
import { makeFakeLog } from "./fake-log.ts";
import { makeSubscription } from "./fake-subscription.ts";
import { limits, turn } from "./fake-tail.ts";
import { makeFakeClock, makeFakeLogger } from "./fakes.ts";

const tooLateMs = 600_000;

const turns = async (count: number): Promise<void> => {
  for (let n = 0; n < count; n += 1) await turn();
};

test("who was put out of the tail hears a hint that comes before it asks to join again", async () => {
  const database = makeFakeLog();
  const clock = makeFakeClock();
  const wakeups = makeWakeupFlag(clock);
  const { live } = database;
  const shared = new SharedTail(
    { log: database.log, live, wakeups, clock, logger: makeFakeLogger() },
    limits,
  );
  const flag = makeWakeupFlag(makeFakeClock());
  const { tail, onHint } = hintedTail(shared, flag.raise);
  const arrival = Promise.withResolvers<void>();
  let looksUntilHeld = Infinity;
  const log: Log = {
    ...database.log,
    look: async (request) => {
      const look = await database.log.look(request);
      looksUntilHeld -= 1;
      if (looksUntilHeld === 0) await arrival.promise;
      return look;
    },
  };
  const subscription = makeSubscription({ pollIntervalMs: tooLateMs }, {}, { log, tail, wakeups: flag });
  const { handled, run, stop } = subscription;
  const ended = new AbortController();
  const running = [shared.run(ended.signal), run()];
  const hint = (): void => {
    wakeups.raise();
    onHint();
  };
  database.publish("a");
  hint();
  await turns(40);
  expect(handled).toEqual([1n]);
  // The last one before it asks to join, and is refused.
  looksUntilHeld = 2;
  database.before = (call) => {
    if (call === "live") throw new Error("planted: the tail's connection broke");
  };
  hint();
  await turns(20);
  expect(looksUntilHeld).toBe(0);
  database.publish("a");
  hint();
  arrival.resolve();
  await turns(40);
  expect(handled).toEqual([1n, 2n]);
  for (const it of [stop, ended]) it.abort();
  await Promise.all(running);
});
