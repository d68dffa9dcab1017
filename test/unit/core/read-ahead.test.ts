//! Reading ahead, over pages that arrive when they are told to.

import { expect, test } from "bun:test";

import type { FetchedPage, Pages } from "../../../src/core/read/pages.ts";
import { makeReadAhead } from "../../../src/core/read/read-ahead.ts";
import { outcomeOf, settle } from "./fakes.ts";

const pageOf = (xmax: bigint): FetchedPage => ({
  events: [],
  end: { epoch: "an epoch", seen: { xmax, xip: [] }, window: null, purge: 0n },
  gap: [],
  isNear: false,
});

/** Pages that are asked for one at a time and wait to be let through; an error stands for one that fails. */
const makeFakePages = (script: readonly (FetchedPage | Error | null)[]) => {
  let next = 0;
  let isBusy = false;
  const asked: boolean[] = [];
  const waiting: (() => void)[] = [];
  const pages: Pages = {
    fetch: async (mayLook) => {
      if (isBusy) throw new Error("two calls at a time");
      isBusy = true;
      asked.push(mayLook);
      const arrival = Promise.withResolvers<void>();
      waiting.push(arrival.resolve);
      await arrival.promise;
      isBusy = false;
      const page = script[next] ?? null;
      next += 1;
      if (page instanceof Error) throw page;
      return page;
    },
    goTo: () => {},
  };
  return {
    pages,
    asked,
    arrive: async () => {
      waiting.shift()?.();
      await settle();
    },
    onTheirWay: () => waiting.length,
  };
};

const pageA = pageOf(1n);
const pageB = pageOf(2n);
const pageC = pageOf(3n);
const pageD = pageOf(4n);

test("two pages are fetched ahead of the one in hand, one at a time, and no more", async () => {
  const fake = makeFakePages([pageA, pageB, pageC, pageD, null]);
  const ahead = makeReadAhead(fake.pages);
  const first = ahead.next();
  await fake.arrive();
  expect(await first).toBe(pageA);
  expect(fake.onTheirWay()).toBe(1);
  await fake.arrive();
  expect(fake.onTheirWay()).toBe(1);
  await fake.arrive();
  // Two are ready: nothing is asked for until one is taken.
  expect(fake.onTheirWay()).toBe(0);
  expect(fake.asked).toEqual([true, false, false]);
  expect(await ahead.next()).toBe(pageB);
  expect(fake.onTheirWay()).toBe(1);
  await fake.arrive();
  expect(await ahead.next()).toBe(pageC);
  expect(await ahead.next()).toBe(pageD);
});

test("where nothing is known to come it looks, once for each call, and reads ahead again after it", async () => {
  const fake = makeFakePages([pageA, null, null, pageB, null]);
  const ahead = makeReadAhead(fake.pages);
  const first = ahead.next();
  await fake.arrive();
  await first;
  await fake.arrive();
  expect(fake.onTheirWay()).toBe(0);
  const nothing = ahead.next();
  await fake.arrive();
  expect(await nothing).toBeNull();
  expect(fake.onTheirWay()).toBe(0);
  const second = ahead.next();
  await fake.arrive();
  expect(await second).toBe(pageB);
  expect(fake.asked).toEqual([true, false, true, true, false]);
});

test("a page that was on its way when there was nothing more to know does not stand for a look", async () => {
  const fake = makeFakePages([pageA, null, pageB]);
  const ahead = makeReadAhead(fake.pages);
  const first = ahead.next();
  await fake.arrive();
  await first;
  const second = ahead.next();
  await fake.arrive();
  // The answer to the call is that of a look that began after it.
  expect(fake.asked).toEqual([true, false, true]);
  await fake.arrive();
  expect(await second).toBe(pageB);
});

test("a failure comes in its place, once, and what is behind it is fetched anew", async () => {
  const fake = makeFakePages([pageA, pageB, new Error("planted"), pageC]);
  const ahead = makeReadAhead(fake.pages);
  const first = ahead.next();
  await fake.arrive();
  await first;
  await fake.arrive();
  await fake.arrive();
  expect(fake.onTheirWay()).toBe(0);
  expect(await ahead.next()).toBe(pageB);
  expect(fake.onTheirWay()).toBe(0);
  expect(await outcomeOf(ahead.next())).toBe("Error: planted");
  const third = ahead.next();
  await fake.arrive();
  expect(await third).toBe(pageC);
});

test("what was fetched is forgotten when the page that is on its way has arrived, and nothing else is asked for", async () => {
  const fake = makeFakePages([pageA, pageB, pageC, pageD]);
  const ahead = makeReadAhead(fake.pages);
  const first = ahead.next();
  await fake.arrive();
  await first;
  await fake.arrive();
  let isForgotten = false;
  const forgotten = ahead.forget().then(() => {
    isForgotten = true;
  });
  await settle();
  expect(isForgotten).toBe(false);
  await fake.arrive();
  await forgotten;
  expect(fake.onTheirWay()).toBe(0);
  const next = ahead.next();
  await fake.arrive();
  expect(await next).toBe(pageD);
  expect(fake.asked).toEqual([true, false, false, true, false]);
});

test("a failure that was on its way is forgotten too", async () => {
  const fake = makeFakePages([pageA, new Error("planted"), pageB]);
  const ahead = makeReadAhead(fake.pages);
  const first = ahead.next();
  await fake.arrive();
  await first;
  const forgotten = ahead.forget();
  await fake.arrive();
  await forgotten;
  const next = ahead.next();
  await fake.arrive();
  expect(await next).toBe(pageB);
});
