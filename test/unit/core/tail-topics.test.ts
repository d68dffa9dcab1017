//! Which topics the shared tail asks for: those of its members, whoever has come and gone, and new ones as they come.

import { describe, expect, test } from "bun:test";

import type { LiveRequest } from "../../../src/core/tail/tail-reader.ts";
import { type FakeLog, makeFakeLog } from "./fake-log.ts";
import { drain, earliest, openTail } from "./fake-tail.ts";

/** Which topics each live read asked for. */
const watchLive = (database: FakeLog): (readonly string[])[] => {
  const asked: (readonly string[])[] = [];
  const { read } = database.live;
  const nameOf = (id: number): string => database.topics.find((topic) => topic.id === id)?.name ?? "";
  const watched = async (request: LiveRequest) => {
    asked.push(request.topicIds?.map(nameOf) ?? ["all"]);
    return await read(request);
  };
  Object.assign(database, { live: { read: watched } });
  return asked;
};

describe("the topics of the tail", () => {
  test("are those of who is present, whoever passed by, and whoever comes back is given all of its own", async () => {
    const database = makeFakeLog();
    const asked = watchLive(database);
    await using tail = openTail(database);
    const start = await earliest(database);
    for (const topic of ["a", "b", "user.1", "user.2", "user.3"]) database.publish(topic);
    const stays = tail.follow(start, "a");
    expect(await drain(stays)).toEqual([1n]);
    await tail.settle();
    const askedNext = async (): Promise<readonly (readonly string[])[]> => {
      asked.length = 0;
      const published = database.publish("a");
      await tail.settle();
      expect(await drain(stays)).toEqual([published]);
      return asked;
    };
    for (const [pattern, also] of Object.entries({
      "user.1": ["a", "user.1"],
      "user.2": ["a", "user.2"],
      "user.*": ["a", "user.1", "user.2", "user.3"],
      ">": ["all"],
      "user.3": ["a", "user.3"],
    })) {
      const passer = tail.follow(start, pattern);
      await drain(passer);
      await tail.settle();
      await drain(passer);
      expect(await askedNext()).toEqual([also]);
      passer.leave();
      // It still knows the topics: one read is enough.
      expect(await askedNext()).toEqual([["a"]]);
    }
    const back = tail.follow(start, "user.1");
    expect(await drain(back)).toEqual([3n]);
    const published = database.publish("user.1");
    await tail.settle();
    expect(await drain(back)).toEqual([published]);
    expect(back.isTogether()).toBeTrue();
  });

  test("stay those of a window until its last page, though somebody leaves and somebody comes in between", async () => {
    const database = makeFakeLog();
    const asked = watchLive(database);
    await using tail = openTail(database);
    const start = await earliest(database);
    const [stays, leaves] = [tail.follow(start, "a"), tail.follow(start, ">")];
    for (const follower of [stays, leaves]) await drain(follower);
    await tail.settle();
    for (const follower of [stays, leaves]) await drain(follower);
    const transaction = database.begin();
    const expected: { a: bigint[]; b: bigint[] } = { a: [], b: [] };
    for (let n = 0; n < 20; n += 1) {
      expected.a.push(transaction.publish("a"));
      expected.b.push(transaction.publish("b"));
    }
    transaction.commit();
    await tail.settle();
    // It has read two pages of five, and waits for somebody to take the first.
    leaves.leave();
    const comes = tail.follow(start, "b");
    const seen: Record<"a" | "b", bigint[]> = { a: [], b: [] };
    for (let n = 0; n < 12; n += 1) {
      await tail.settle();
      seen.a.push(...(await drain(stays)));
      seen.b.push(...(await drain(comes)));
    }
    expect(seen).toEqual(expected);
    for (const follower of [stays, comes]) expect(follower.isTogether()).toBeTrue();
    expect(asked.at(-1)).toEqual(["a", "b"]);
  });

  for (const [what, events] of Object.entries({ "a page": 3, "what takes many pages": 40 })) {
    test(`may be others at each read: ${what} is delivered all the same`, async () => {
      const database = makeFakeLog();
      await using tail = openTail(database);
      const start = await earliest(database);
      for (let n = 0; n < 60; n += 1) database.publish(`user.${n}`);
      const stays = tail.follow(start, "a");
      await drain(stays);
      await tail.settle();
      let passer = tail.follow(start, "b");
      let passed = 0;
      database.calls.length = 0;
      database.before = async (call) => {
        if (call !== "live" || passed === 60) return;
        passer.leave();
        passer = tail.follow(start, `user.${passed}`);
        passed += 1;
        await drain(passer);
      };
      const transaction = database.begin();
      const expected = Array.from({ length: events }, () => transaction.publish("a"));
      transaction.commit();
      const seen: bigint[] = [];
      for (let look = 0; look < 12; look += 1) {
        await tail.settle();
        seen.push(...(await drain(stays)));
        if (seen.length === events) break;
      }
      expect(seen).toEqual(expected);
      expect(passed).toBeGreaterThan(0);
      expect(passed).toBeLessThan(10);
    });
  }

  test("may be new ones at each read: a storm of them is delivered, and not read again and again first", async () => {
    const database = makeFakeLog();
    await using tail = openTail(database, {
      pageEventsMax: 1_000,
      pageBytesMax: 100_000,
      lagEventsMax: 1_000,
    });
    const follower = tail.follow(await earliest(database), "user.*");
    await drain(follower);
    await tail.settle();
    await drain(follower);
    const expected: bigint[] = [];
    database.before = () => {
      if (expected.length < 200) expected.push(database.publish(`user.${expected.length}`));
    };
    const seen: bigint[] = [];
    for (let round = 0; round < 5; round += 1) {
      database.calls.length = 0;
      await tail.settle();
      expect(database.calls.filter((call) => call === "live").length).toBeLessThanOrEqual(3);
      const batch = await follower.next();
      expect(batch?.events).not.toBeEmpty();
      seen.push(...(batch?.events ?? []).map(({ id }) => id));
    }
    expect(expected.length).toBeLessThan(200);
    database.before = () => {};
    for (let look = 0; look < 3; look += 1) {
      seen.push(...(await drain(follower)));
      await tail.settle();
    }
    expect(seen).toEqual(expected);
    expect(follower.isTogether()).toBeTrue();
    // The storm is over: for one that comes alone, a live read is asked again.
    database.calls.length = 0;
    for (let n = 0; n < 5; n += 1) {
      const published = database.publish(`user.late${n}`);
      await tail.settle();
      expect(await drain(follower)).toEqual([published]);
    }
    expect(database.calls).not.toContain("firstPage");
  });
});
