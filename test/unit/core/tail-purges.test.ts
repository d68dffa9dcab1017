//! What retention removes while the shared tail reads: its members are told of what they have not read, and of nothing else.

import { expect, test } from "bun:test";

import { makeFakeLog } from "./fake-log.ts";
import { drain, earliest, openTail } from "./fake-tail.ts";

test("passes over nothing that a purge removed before it was read: its members are told", async () => {
  const database = makeFakeLog();
  await using tail = openTail(database);
  const follower = tail.follow(await earliest(database));
  await drain(follower);
  await tail.settle();
  database.publish("a");
  database.purge("a", 1n);
  database.publish("a");
  await tail.settle();
  const outcome = await follower.next().catch((error: unknown) => String(error));
  expect(outcome).toContain("unexpected gap");
});

test("nor does it amid the pages of what is more than one", async () => {
  const database = makeFakeLog();
  await using tail = openTail(database);
  const follower = tail.follow(await earliest(database));
  await drain(follower);
  await tail.settle();
  const transaction = database.begin();
  const published = Array.from({ length: 40 }, () => transaction.publish("a"));
  transaction.commit();
  await tail.settle();
  // By now two pages of five have been read.
  database.purge("a", 30n);
  const seen: bigint[] = [];
  const readOn = async (): Promise<void> => {
    for (let look = 0; look < 12; look += 1) {
      for (let batch = await follower.next(); batch !== null; batch = await follower.next()) {
        seen.push(...batch.events.map(({ id }) => id));
      }
      await tail.settle();
    }
  };
  expect(await readOn().catch((error: unknown) => String(error))).toContain("unexpected gap");
  expect(seen).toEqual(published.slice(0, 10));
});

test("stays together at a purge of what it has read, and its members come to know of that", async () => {
  const database = makeFakeLog();
  await using tail = openTail(database);
  const follower = tail.follow(await earliest(database));
  database.publish("a");
  expect(await drain(follower)).toEqual([1n]);
  await tail.settle();
  await drain(follower);
  database.calls.length = 0;
  database.purge("a", 1n);
  database.publish("a");
  await tail.settle();
  expect(await follower.next()).toMatchObject({ events: [{ id: 2n }], cursor: { purge: 1n } });
  expect(follower.isTogether()).toBeTrue();
  expect(database.calls).not.toContain("firstPage");
});
