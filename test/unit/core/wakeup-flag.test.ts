//! What hints are turned into, alone.

import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";

import type { Clock } from "../../../src/core/ports.ts";
import { makeWakeupFlag } from "../../../src/core/wakeup-flag.ts";
import { makeFakeClock } from "./fakes.ts";

const never = new AbortController().signal;

/** Every wait is over at once. */
const hasty: Clock = {
  now: () => 0,
  sleep: async () => {
    await Promise.resolve();
  },
};

const promises = (): number => {
  Bun.gc(true);
  return heapStats().objectTypeCounts["Promise"] ?? 0;
};

test("wakes all who wait, and who comes later until it is cleared", async () => {
  const flag = makeWakeupFlag(makeFakeClock());
  const waits = [flag.wait(1_000, never), flag.wait(2_000, never)];
  flag.raise();
  flag.clear();
  await Promise.all(waits);
  flag.raise();
  await flag.wait(1_000, never);
  flag.clear();
  const stopping = new AbortController();
  const wait = flag.wait(1_000, stopping.signal);
  stopping.abort();
  await wait;
  await flag.wait(1_000, stopping.signal);
});

test("keeps nothing of waits without a hint: an idle log is polled for months", async () => {
  const flag = makeWakeupFlag(hasty);
  await flag.wait(1, never);
  const before = promises();
  for (let n = 0; n < 5_000; n += 1) {
    flag.clear();
    await flag.wait(1, never);
  }
  expect(promises() - before).toBeLessThan(500);
});
