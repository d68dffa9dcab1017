import { expect, test } from "bun:test";

import { type Announcer, makeAnnouncer, tickIds } from "../../../src/core/publish/announcer.ts";
import { makeFakeLogger, settle } from "./fakes.ts";

const setup = () => {
  let ticks = 0;
  let inFlight = 0;
  let inFlightMost = 0;
  let gate: Promise<void> = Promise.resolve();
  let isFailing = false;
  const announcer: Announcer = makeAnnouncer(
    {
      tick: async () => {
        inFlight += 1;
        inFlightMost = Math.max(inFlightMost, inFlight);
        await gate;
        inFlight -= 1;
        if (isFailing) throw new Error("planted");
        ticks += 1;
      },
    },
    makeFakeLogger(),
  );
  const hold = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    return resolve;
  };
  return {
    announcer,
    hold,
    ticks: () => ticks,
    inFlightMost: () => inFlightMost,
    fail: (failing: boolean) => {
      isFailing = failing;
    },
  };
};

test("a tick is asked for each time the ids cross a multiple of 10,000, and only then", async () => {
  const { announcer, ticks } = setup();
  const ticksAfter = async (id: bigint): Promise<number> => {
    announcer.announce(id);
    await announcer.settled();
    return ticks();
  };
  expect(await ticksAfter(1n)).toBe(0);
  expect(await ticksAfter(tickIds - 1n)).toBe(0);
  expect(await ticksAfter(tickIds)).toBe(1);
  expect(await ticksAfter(tickIds + 1n)).toBe(1);
  expect(await ticksAfter(2n * tickIds - 1n)).toBe(1);
  expect(await ticksAfter(5n * tickIds + 7n)).toBe(2);
  expect(await ticksAfter(5n * tickIds + 8n)).toBe(2);
});

test("at most one tick is in flight, and one more covers everything that happened meanwhile", async () => {
  const { announcer, ticks, hold, inFlightMost } = setup();
  const release = hold();
  for (let n = 1n; n <= 50n; n += 1n) announcer.announce(n * tickIds);
  await settle();
  release();
  await announcer.settled();
  expect(ticks()).toBe(2);
  expect(inFlightMost()).toBe(1);
});

test("an older id, answered late on another lane, asks for no tick of its own", async () => {
  const { announcer, ticks } = setup();
  announcer.announce(3n * tickIds);
  announcer.announce(1n);
  announcer.announce(2n * tickIds);
  announcer.announce(3n * tickIds + 1n);
  await announcer.settled();
  expect(ticks()).toBe(1);
});

test("a tick that fails is swallowed, and the next goes out", async () => {
  const { announcer, ticks, fail } = setup();
  fail(true);
  announcer.announce(tickIds);
  await announcer.settled();
  fail(false);
  announcer.announce(2n * tickIds);
  await announcer.settled();
  expect(ticks()).toBe(1);
});
