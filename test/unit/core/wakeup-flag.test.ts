//! What hints are turned into, alone.

import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";

import type { Clock } from "../../../src/core/ports.ts";
import { makeWakeupFlag } from "../../../src/core/wakeup-flag.ts";
import { makeFakeClock, settle } from "./fakes.ts";

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

test("keeps one alarm, for whoever is first, and none for nobody", async () => {
  const clock = makeFakeClock();
  const flag = makeWakeupFlag(clock);
  const stopping = new AbortController();
  const waits = [1_000, 500, 100, 700].map(async (ms) => await flag.wait(ms, stopping.signal));
  await settle();
  expect(clock.sleepers()).toBe(1);
  stopping.abort();
  await Promise.all(waits);
  await settle();
  expect(clock.sleepers()).toBe(0);
});

test("wakes at the time told, however many hints came before, and whoever else waits", async () => {
  const clock = makeFakeClock();
  const flag = makeWakeupFlag(clock);
  const woken: string[] = [];
  const wait = async (name: string, ms: number, signal = never): Promise<void> => {
    flag.clear();
    await flag.wait(ms, signal);
    woken.push(`${name} at ${clock.now()}`);
  };
  for (let n = 0; n < 10; n += 1) {
    const waiting = wait("hinted", 1_000);
    await clock.pass(90);
    flag.raise();
    await waiting;
  }
  woken.length = 0;
  const stopping = new AbortController();
  const all = [wait("late", 1_000), wait("soon", 50), wait("stopped", 500, stopping.signal)];
  await clock.pass(100);
  stopping.abort();
  await clock.pass(1_000);
  await Promise.all(all);
  expect(woken).toEqual(["soon at 950", "stopped at 1000", "late at 1900"]);
  expect(clock.sleepers()).toBe(0);
});

test("lets its alarm go with the signal, and listens to each signal once", async () => {
  const clock = makeFakeClock();
  const flag = makeWakeupFlag(clock);
  const stopping = new AbortController();
  let listeners = 0;
  const add = stopping.signal.addEventListener.bind(stopping.signal);
  stopping.signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners += 1;
    add(...args);
  };
  for (let n = 0; n < 3; n += 1) {
    flag.clear();
    const waiting = flag.wait(1_000, stopping.signal);
    flag.raise();
    await waiting;
  }
  expect([listeners, clock.sleepers(), clock.slept]).toEqual([1, 1, [1_000]]);
  stopping.abort();
  await settle();
  expect(clock.sleepers()).toBe(0);
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
