//! Whoever follows the shared tail: when it joins, and where it stands.

import { expect, test } from "bun:test";

import { makeFakeLog } from "./fake-log.ts";
import { drain, earliest, openTail } from "./fake-tail.ts";

test("joins near the present, without a moment of quiet, which may not come", async () => {
  const database = makeFakeLog();
  await using tail = openTail(database);
  const follower = tail.follow(await earliest(database));
  const published = [database.publish("a")];
  database.before = (call) => {
    if (call === "look" && published.length < 100) published.push(database.publish("a"));
  };
  const seen: bigint[] = [];
  for (let n = 0; n < 10 && !follower.isTogether(); n += 1) {
    seen.push(...((await follower.next())?.events ?? []).map(({ id }) => id));
  }
  expect(follower.isTogether()).toBeTrue();
  database.before = () => {};
  for (let look = 0; look < 5; look += 1) {
    seen.push(...(await drain(follower)));
    await tail.settle();
  }
  expect(seen).toEqual(published);
});

test("put out amid a window, goes on behind what it has taken, though it joins again further on", async () => {
  const database = makeFakeLog();
  await using tail = openTail(database);
  const start = await earliest(database);
  const [slow, fast] = [tail.follow(start), tail.follow(start)];
  for (const follower of [slow, fast]) await drain(follower);
  await tail.settle();
  for (const follower of [slow, fast]) await drain(follower);
  const transaction = database.begin();
  const published = Array.from({ length: 4 }, () => transaction.publish("a"));
  transaction.commit();
  const goOn = async (): Promise<void> => {
    await tail.settle();
    await drain(fast);
    published.push(database.publish("a"));
  };
  await tail.settle();
  const seen: bigint[] = [];
  const take = async (): Promise<void> => {
    seen.push(...((await slow.next())?.events ?? []).map(({ id }) => id));
  };
  await take();
  expect(seen).toEqual(published.slice(0, 3));
  for (let n = 0; n < 30; n += 1) await goOn();
  for (let n = 0; n < 30; n += 1) {
    await take();
    await goOn();
  }
  expect(slow.isTogether()).toBeTrue();
  await tail.settle();
  seen.push(...(await drain(slow)));
  await tail.settle();
  seen.push(...(await drain(slow)));
  expect(seen).toEqual(published);
});

test("moves past what it does not want, and says so", async () => {
  const database = makeFakeLog();
  await using tail = openTail(database);
  const start = await earliest(database);
  const [few, all] = [tail.follow(start, "b"), tail.follow(start)];
  for (const follower of [few, all]) await drain(follower);
  await tail.settle();
  for (const follower of [few, all]) await drain(follower);
  database.publish("a");
  await tail.settle();
  const batch = await few.next();
  expect(batch).toEqual({ events: [], cursor: (await all.next())?.cursor ?? expect.unreachable() });
});

test("forgets no purge that it knows of, though the tail does not", async () => {
  const database = makeFakeLog();
  await using tail = openTail(database);
  const follower = tail.follow({ ...(await earliest(database)), purge: 5n });
  await drain(follower);
  await tail.settle();
  await drain(follower);
  database.publish("a");
  await tail.settle();
  expect(follower.isTogether()).toBeTrue();
  expect(await follower.next()).toMatchObject({ events: [{ id: 1n }], cursor: { purge: 5n } });
});
