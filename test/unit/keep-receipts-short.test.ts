//! Receipts go when they are of no use, and nothing that goes wrong there ends a subscription.

import { expect, test } from "bun:test";

import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import type { ConsumerStore } from "../../src/core/subscribe/store.ts";
import { keepReceiptsShort } from "../../src/library/keep-receipts-short.ts";
import { makeFakeClock, makeFakeLogger, settle } from "./core/fakes.ts";

const minuteMs = 60_000;

/** @param ages of the oldest segment, one a round; null: there is none with events */
const keep = (ages: readonly (number | null | Error)[]) => {
  const rounds = [...ages];
  const asked: number[] = [];
  const stopping = new AbortController();
  const clock = makeFakeClock();
  const client = {
    run: async () => {
      const age = rounds.shift();
      if (age instanceof Error) throw age;
      return await Promise.resolve([{ age }]);
    },
  } as Partial<PostgresClient> as PostgresClient;
  const store = {
    expireReceipts: async (age: number) => {
      asked.push(age);
      return await Promise.resolve(1);
    },
  } as Partial<ConsumerStore> as ConsumerStore;
  const done = keepReceiptsShort(
    { store, client, clock, logger: makeFakeLogger(), ageMs: null },
    stopping.signal,
  );
  return { asked, clock, done, stop: () => stopping.abort() };
};

test("receipts are kept for an hour longer than the oldest event may live: clocks differ", async () => {
  const { asked, clock, done, stop } = keep([1_000, 5_000]);
  await settle();
  expect(asked).toEqual([3_601_000]);
  await clock.pass(minuteMs);
  expect(asked).toEqual([3_601_000, 3_605_000]);
  stop();
  await done;
  expect(clock.sleepers()).toBe(0);
});

test("none goes where no segment says how old events are", async () => {
  const { asked, done, stop } = keep([null]);
  await settle();
  stop();
  await done;
  expect(asked).toEqual([]);
});

test("what fails is tried again at the next round, and fails nothing else", async () => {
  const { asked, clock, done, stop } = keep([new Error("the database is away"), 1_000]);
  await settle();
  expect(asked).toEqual([]);
  await clock.pass(minuteMs);
  expect(asked).toEqual([3_601_000]);
  stop();
  await done;
});
