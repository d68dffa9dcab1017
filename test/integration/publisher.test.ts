//! Publishing against a real log: what is refused lands on the caller who gave it, and keys make publishing again safe.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { RawJson, type EventDraft } from "../../src/core/event.ts";
import type { Publisher } from "../../src/core/publish/publisher.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { useLog } from "../support/log-of-file.ts";

let publisher: Publisher & AsyncDisposable;
// Hooks run in this order: it is closed while the database is still there.
afterAll(async () => {
  await publisher[Symbol.asyncDispose]();
});
const log = useLog();
beforeAll(() => {
  publisher = openPublisher({ database: log.url, name: "publisher", eventBytesMax: 2_000_000 });
});

const stored = async (topic: string): Promise<readonly string[]> => {
  const rows = await log.hands.sql<{ data: string }[]>`
    select e.data::text as data from pgstream.events e join pgstream.topics t on t.id = e.topic_id
    where t.name = ${topic} order by e.id`;
  return rows.map(({ data }) => data);
};

/** The ids, or the code of the failure, of each call; all made in one turn, so that they travel together. */
const outcomes = async (
  calls: readonly (EventDraft | readonly EventDraft[])[],
): Promise<readonly unknown[]> => {
  const publish = async (call: EventDraft | readonly EventDraft[]): Promise<unknown> =>
    "topic" in call ? await publisher.publish(call) : await publisher.publish(call);
  const settled = await Promise.allSettled(calls.map(publish));
  return settled.map((it) => {
    if (it.status === "fulfilled") return it.value;
    const reason: unknown = it.reason;
    return reason instanceof Error && "code" in reason ? reason.code : reason;
  });
};

const someId = expect.any(BigInt) as bigint;

describe("one bad event among good ones fails alone:", () => {
  test("what is no JSON, what is too deep for the server's parser, and what the server's text cannot hold", async () => {
    const deep = "[".repeat(7_000) + "]".repeat(7_000);
    const wayTooDeep = "[".repeat(200_000) + "]".repeat(200_000);
    const bad: readonly unknown[] = [
      new RawJson('{"a":'),
      new RawJson(""),
      undefined,
      () => 1,
      1n,
      new RawJson(wayTooDeep),
    ];
    const results = await outcomes([
      { topic: "bad.json", data: "first" },
      ...bad.map((data) => ({ topic: "bad.json", data })),
      { topic: "bad.json", data: new RawJson(deep) },
      { topic: "bad.json", data: "last" },
    ]);
    expect(results).toEqual([someId, ...bad.map(() => "invalid_event"), expect.anything(), someId]);
    expect((await stored("bad.json")).filter((data) => data.startsWith('"'))).toEqual(['"first"', '"last"']);
  });

  test("RawJson keeps its bytes: numbers beyond 2^53, the order of names, spaces", async () => {
    const text = '{ "b": 9007199254740993, "a": 1.10, "a": "\\u00e9" }';
    await publisher.publish({ topic: "bytes", data: new RawJson(text) });
    expect(await stored("bytes")).toEqual([text]);
  });

  test("what is too large for us, and what is too large for the server alone", async () => {
    const results = await outcomes([
      { topic: "large", data: "first" },
      { topic: "large", data: "x".repeat(2_000_001) },
      { topic: "large", data: "x".repeat(1_500_000) },
      { topic: "large", data: "last" },
    ]);
    expect(results).toEqual([someId, "event_too_large", "event_too_large", someId]);
    expect(await stored("large")).toEqual(['"first"', '"last"']);
  });

  test("an unknown topic, where topics are not created", async () => {
    await publisher.publish({ topic: "known", data: 0 });
    await log.hands.sql`update pgstream.settings set create_topics = false`;
    try {
      const results = await outcomes([
        { topic: "known", data: 1 },
        { topic: "unheard-of", data: 2 },
        { topic: "no topic at all", data: 3 },
        { topic: "known", data: 4 },
      ]);
      expect(results).toEqual([someId, "unknown_topic", "invalid_topic", someId]);
    } finally {
      await log.hands.sql`update pgstream.settings set create_topics = true`;
    }
    expect(await stored("known")).toEqual(["0", "1", "4"]);
  });

  test("and takes the other events of its own call with it", async () => {
    const results = await outcomes([
      { topic: "together", data: 1 },
      [
        { topic: "together", data: 2 },
        { topic: "together", data: "x".repeat(1_500_000) },
        { topic: "together", data: 3 },
      ],
      [
        { topic: "together", data: 4 },
        { topic: "together", data: 5 },
      ],
    ]);
    expect(results).toEqual([someId, "event_too_large", [someId, someId]]);
    expect(await stored("together")).toEqual(["1", "4", "5"]);
  });
});

describe("an idempotency key", () => {
  const order = (n: number, data: unknown = n): EventDraft => ({
    topic: "orders",
    data,
    idempotencyKey: `order-${n}`,
  });

  test("answers the id of the first time: in the same call, in the same batch, later, and to another publisher", async () => {
    const first = await publisher.publish(order(1));
    expect(await publisher.publish(order(1))).toBe(first);
    expect(await publisher.publish([order(1), order(2), order(2), order(1)])).toEqual([
      first,
      someId,
      someId,
      first,
    ]);
    const [again, alsoAgain] = await outcomes([order(2), order(2)]);
    expect(again).toBe(alsoAgain);
    await using other = openPublisher({ database: log.url, name: "other" });
    expect(await other.publish(order(2))).toBe(again as bigint);
    expect(await stored("orders")).toEqual(["1", "2"]);
  });

  test("answers each id, though the first and the last are as far apart as if all were new", async () => {
    const [first, , third] = await publisher.publish([order(11), order(12), order(13)]);
    const ids = await publisher.publish([order(11), order(14), order(13)]);
    expect([ids[0], ids[2]]).toEqual([first, third]);
    expect(ids[1]).toBeGreaterThan(third ?? 0n);
  });

  test("is of its topic alone", async () => {
    const first = await publisher.publish({ ...order(3), topic: "here" });
    expect(await publisher.publish({ ...order(3), topic: "there" })).not.toBe(first);
    expect([...(await stored("here")), ...(await stored("there"))]).toEqual(["3", "3"]);
  });

  test("with other content, key, type or headers is refused, and only that call", async () => {
    const original = { ...order(4), type: "Ordered" };
    const id = await publisher.publish(original);
    expect(
      await outcomes([
        original,
        { ...original, data: "other" },
        { ...original, type: "Cancelled" },
        { ...original, key: "k" },
        { ...original, headers: { a: "1" } },
        order(5),
      ]),
    ).toEqual([id, ...Array.from({ length: 4 }, () => "idempotency_conflict"), someId]);
  });

  test("used by two publishers at once is published once", async () => {
    await using other = openPublisher({ database: log.url, name: "rival" });
    const keys = Array.from({ length: 50 }, (_, n) => ({ ...order(n), topic: "rivals" }));
    const [one, two] = await Promise.all([
      Promise.all(keys.map(async (draft) => await publisher.publish(draft))),
      Promise.all(keys.toReversed().map(async (draft) => await other.publish(draft))),
    ]);
    expect(two.toReversed()).toEqual(one);
    expect(new Set(await stored("rivals")).size).toBe(50);
    expect(await stored("rivals")).toHaveLength(50);
  });
});

test("the longest deadline that is taken is one that the server takes, too", async () => {
  await using patient = openPublisher({ database: log.url, deadlineMs: 2 ** 31 - 1 });
  expect(await patient.publish({ topic: "patient", data: 1 })).toEqual(someId);
});
