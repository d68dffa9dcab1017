import { expect, test } from "bun:test";

import { makeWantedTopics, nameRows, type WantedTopics } from "../../../src/core/read/wanted-topics.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { epochIds, type FakeLog, makeFakeLog } from "./fake-log.ts";

const learnFrom = async (database: FakeLog, topics: WantedTopics): Promise<number> => {
  const since = database.newestEpoch().snapshot;
  const look = await database.log.look({
    since,
    epoch: database.newestEpoch(),
    bound: 0n,
    topicsSince: topics.since(),
    expectsTick: false,
  });
  topics.learn(look);
  return look.topics.length;
};

test("learns each topic once, and wants those that match", async () => {
  const database = makeFakeLog();
  const topics = makeWantedTopics(parseTopicPatterns(["courses.*"]));
  expect(topics.isKnown()).toBe(false);
  database.publish("courses.created");
  database.publish("policies");
  expect(await learnFrom(database, topics)).toBe(2);
  expect(topics.isKnown()).toBe(true);
  const created = database.topicId("courses.created");
  expect(topics.ids()).toEqual([created]);
  expect(topics.name(created)).toBe("courses.created");
  expect(topics.name(database.topicId("policies"))).toBe("policies");
  expect(await learnFrom(database, topics)).toBe(0);
  database.publish("courses.renamed");
  expect(await learnFrom(database, topics)).toBe(1);
  expect(topics.ids()).toEqual([created, database.topicId("courses.renamed")]);
});

test("a topic whose transaction commits after that of a topic with a greater id is learned all the same", async () => {
  const database = makeFakeLog();
  const topics = makeWantedTopics(parseTopicPatterns([">"]));
  const slow = database.begin();
  slow.publish("slow");
  database.publish("quick");
  await learnFrom(database, topics);
  slow.commit();
  expect(await learnFrom(database, topics)).toBe(1);
  expect(topics.name(database.topicId("slow"))).toBe("slow");
});

test("a topic made by a transaction with an early xid, after looks that saw later ones, is learned", async () => {
  const database = makeFakeLog();
  const topics = makeWantedTopics(parseTopicPatterns(["late"]));
  const early = database.begin();
  for (let n = 0; n < 5; n += 1) {
    database.publish(`other-${n}`);
    await learnFrom(database, topics);
  }
  early.publish("late");
  early.commit();
  await learnFrom(database, topics);
  expect(topics.ids()).toEqual([database.topicId("late")]);
});

test("what is asked for next claims no transaction that a crash could hand out again", async () => {
  const database = makeFakeLog();
  const topics = makeWantedTopics(parseTopicPatterns([">"]));
  database.publish("a");
  const newest = database.topics.at(-1)?.xid ?? 0n;
  for (let n = 0; n < 20; n += 1) database.begin().commit();
  await learnFrom(database, topics);
  expect(topics.since().xmax).toBe(newest + 1n);
});

test("with everything wanted no topic in particular is asked for, but names are known", async () => {
  const database = makeFakeLog();
  const topics = makeWantedTopics(parseTopicPatterns([">"]));
  database.publish("a");
  await learnFrom(database, topics);
  expect(topics.ids()).toBeNull();
  expect(topics.name(database.topicId("a"))).toBe("a");
  expect(topics.name(-7)).toBeUndefined();
  expect(database.newestEpoch().id).toBe(epochIds.first);
});

test("an event of a topic that is not known is a bug, and not one without a topic", () => {
  const topics = makeWantedTopics(parseTopicPatterns([">"]));
  const row = {
    id: 1n,
    topicId: 7,
    key: null,
    type: null,
    headers: null,
    createdAt: new Date(0),
    data: "{}",
  };
  expect(() => nameRows({ rows: [row], more: false }, topics)).toThrow(
    expect.objectContaining({ code: "internal" }),
  );
});
