//! How far back the live reads of the shared tail look for events: what lies below its bounds need not be opened.

import { expect, test } from "bun:test";

import type { LiveRequest } from "../../../src/core/tail/tail-reader.ts";
import { makeFakeLog } from "./fake-log.ts";
import { drain, earliest, openTail } from "./fake-tail.ts";

test("follows the log with its bounds, which it asks for every ten seconds", async () => {
  const database = makeFakeLog();
  const asked: LiveRequest[] = [];
  const watched: typeof database.live = {
    read: async (request) => {
      asked.push(request);
      return await database.live.read(request);
    },
  };
  await using tail = openTail(database, {}, { live: () => watched });
  const follower = tail.follow(await earliest(database));
  for (let n = 0; n < 20; n += 1) {
    database.publish("a");
    database.tick();
    await tail.settle();
    await drain(follower);
    await tail.clock.pass(2_500);
  }
  expect(follower.isTogether()).toBeTrue();
  expect(asked.filter(({ identify }) => identify)).toHaveLength(5);
  const { mainBound = 0n, lateBound = 0n } = asked.at(-1) ?? {};
  for (const bound of [mainBound, lateBound]) expect(bound).toBeGreaterThan(10n);
});
