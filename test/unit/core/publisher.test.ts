import { describe, expect, test } from "bun:test";

import { PgstreamError } from "../../../src/core/errors.ts";
import type { EventDraft } from "../../../src/core/event.ts";
import type { AppendBatch } from "../../../src/core/publish/append-until-known.ts";
import { batchSizes, event, makeTestPublisher } from "./fake-publisher.ts";
import { isPending, outcomeOf, settle } from "./fakes.ts";

describe("batching", () => {
  test("what is called while a batch is on its way goes out together in the next one", async () => {
    const { appender, publisher } = makeTestPublisher();
    const release = appender.hold();
    const first = publisher.publish(event(0));
    await settle();
    const rest = Array.from({ length: 50 }, async (_, n) => await publisher.publish(event(n + 1)));
    await settle();
    expect(batchSizes(appender)).toEqual([1]);
    release();
    expect(await first).toBe(1n);
    expect(await Promise.all(rest)).toEqual(Array.from({ length: 50 }, (_, n) => BigInt(n + 2)));
    expect(batchSizes(appender)).toEqual([1, 50]);
  });

  test("calls of one turn go together, the first included", async () => {
    const { appender, publisher } = makeTestPublisher();
    await Promise.all([1, 2, 3].map(async (n) => await publisher.publish(event(n))));
    expect(batchSizes(appender)).toEqual([3]);
  });

  test("ids grow in the order of the calls, whatever the batches", async () => {
    const { publisher, appender } = makeTestPublisher({ batchEventsMax: 7 });
    const ids = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => await publisher.publish(event(n))),
    );
    expect(ids).toEqual(ids.toSorted((a, b) => Number(a - b)));
    expect(appender.committed.map((it) => it.data)).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
    expect(Math.max(...batchSizes(appender))).toBe(7);
  });

  test("a batch is never more than the limits, but a call of several events is never split", async () => {
    const { appender, publisher } = makeTestPublisher({ batchEventsMax: 10 });
    const release = appender.hold();
    const calls = [3, 8, 25, 1, 1].map(
      async (size) => await publisher.publish(Array.from({ length: size }, (_, n) => event(n))),
    );
    release();
    const ids = await Promise.all(calls);
    expect(batchSizes(appender)).toEqual([3, 8, 25, 2]);
    expect(ids.map((it) => it.length)).toEqual([3, 8, 25, 1, 1]);
  });

  test("bytes are a limit of their own", async () => {
    const { appender, publisher } = makeTestPublisher({ batchBytesMax: 250 });
    await Promise.all([1, 2, 3].map(async () => await publisher.publish(event("x".repeat(100)))));
    expect(batchSizes(appender)).toEqual([2, 1]);
  });

  test("batches are numbered one by one, and each is announced once with its last id", async () => {
    const { appender, publisher, announced } = makeTestPublisher();
    await publisher.publish([event(1, "a"), event(2, "b"), event(3, "a")]);
    await publisher.publish(event(4, "c"));
    expect(appender.calls.map((call) => call.number)).toEqual([1n, 2n]);
    expect(announced).toEqual([3n, 4n]);
    expect(publisher.status()).toEqual({ waiting: 0, retrying: null, published: 4 });
  });

  test("an empty list is published at once: there is nothing to write", async () => {
    const { appender, publisher } = makeTestPublisher();
    expect(await publisher.publish([])).toEqual([]);
    expect(appender.calls).toEqual([]);
    expect(await isPending(publisher.close(1_000))).toBe(false);
  });
});

test("a list with a hole in it is refused, and takes nobody else's ids", async () => {
  const { publisher } = makeTestPublisher();
  const sparse: EventDraft[] = [];
  sparse[1] = event("b");
  const outcomes = await Promise.all(
    [[event("a")], sparse, [event("c")], [event("d")]].map(
      async (it) => await outcomeOf(publisher.publish(it)),
    ),
  );
  expect(outcomes).toEqual([[1n], "invalid_event", [2n], [3n]]);
});

describe("one bad event", () => {
  test("among 500 calls fails alone, and everybody else gets an id of their own event", async () => {
    const { appender, publisher } = makeTestPublisher();
    const release = appender.hold();
    const calls = Array.from(
      { length: 500 },
      async (_, n) => await outcomeOf(publisher.publish(event(n === 321 ? "bad" : n))),
    );
    release();
    const outcomes = await Promise.all(calls);
    expect(outcomes[321]).toBe("invalid_event");
    const ownEvents = new Map(appender.committed.map(({ id, data }) => [id, data]));
    for (const [n, id] of outcomes.entries()) {
      if (n !== 321) expect(ownEvents.get(id as bigint)).toBe(String(n));
    }
    expect(appender.committed).toHaveLength(499);
    expect(appender.calls.length).toBeLessThan(30);
    expect(publisher.status().waiting).toBe(0);
  });

  test("leaves the publisher its name: the log remembers one for each that it has heard", async () => {
    const { appender, publisher } = makeTestPublisher();
    for (let n = 0; n < 5; n += 1) await outcomeOf(publisher.publish(event("bad")));
    expect(new Set(appender.calls.map((call) => call.publisher)).size).toBe(1);
  });

  test("takes the others of its own call with it", async () => {
    const { appender, publisher } = makeTestPublisher();
    const results = await Promise.all([
      outcomeOf(publisher.publish([event(1), event("bad"), event(3)])),
      outcomeOf(publisher.publish(event(4))),
    ]);
    expect(results).toEqual(["invalid_event", 1n]);
    expect(appender.committed.map((it) => it.data)).toEqual(["4"]);
  });

  test("that is refused before it is sent disturbs nobody", async () => {
    const { appender, publisher } = makeTestPublisher({ eventBytesMax: 100 });
    const drafts = [event(1n), event(1, "no topic"), event("x".repeat(100)), event(2)];
    expect(await Promise.all(drafts.map(async (draft) => await outcomeOf(publisher.publish(draft))))).toEqual(
      ["invalid_event", "invalid_topic", "event_too_large", 1n],
    );
    expect(batchSizes(appender)).toEqual([1]);
    expect(publisher.status().waiting).toBe(0);
  });
});

test("a call that is larger than a statement may be is refused before it is sent", async () => {
  const { appender, publisher } = makeTestPublisher({ callBytesMax: 100 });
  const large = [event("x".repeat(60)), event("y".repeat(60))];
  expect(await outcomeOf(publisher.publish(large))).toBe("event_too_large");
  expect(await publisher.publish(event("x".repeat(60)))).toBe(1n);
  expect(batchSizes(appender)).toEqual([1]);
  expect(publisher.status().waiting).toBe(0);
});

test("an answer that has not an id for each event is none, and what it is for is not published again", async () => {
  const { appender, publisher } = makeTestPublisher();
  const { append } = appender;
  Object.assign(appender, { append: async (batch: AppendBatch) => (await append(batch)).slice(1) });
  const calls = [1, 2].map(async (n) => await outcomeOf(publisher.publish(event(n))));
  expect(await Promise.all(calls)).toEqual(["internal", "internal"]);
  expect(appender.committed).toHaveLength(2);
});

describe("an outcome that is unknown", () => {
  test.each(["lose answer", "lose request"] as const)(
    "is repeated under the same number with the same events until the log answers: %s",
    async (outcome) => {
      const { appender, publisher, clock } = makeTestPublisher();
      appender.next(outcome, outcome, outcome);
      const first = publisher.publish([event(1), event(2)]);
      await settle();
      const second = publisher.publish(event(3));
      expect(await isPending(first)).toBe(true);
      expect(publisher.status().retrying).toBe("the connection broke");
      await clock.pass(60_000);
      expect(await Promise.all([first, second])).toEqual([[1n, 2n], 3n]);
      expect(appender.calls.map((call) => call.number)).toEqual([1n, 1n, 1n, 1n, 2n]);
      for (const call of appender.calls.slice(0, 4)) expect(call).toEqual(appender.calls[0] ?? call);
      expect(appender.committed.map((it) => it.data)).toEqual(["1", "2", "3"]);
      expect(publisher.status().retrying).toBeNull();
    },
  );

  test("is repeated for as long as the outage lasts, at a bounded pace", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    appender.next(...Array.from({ length: 500 }, () => "lose request" as const));
    const published = publisher.publish(event(1));
    await clock.pass(3_600_000);
    expect(await published).toBe(1n);
    expect(appender.calls).toHaveLength(501);
    expect(Math.max(...clock.slept)).toBeLessThanOrEqual(5_000);
  });
});

describe("a publisher's name", () => {
  const day = 86_400_000;

  test("is the same for as long as it is at work", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    for (let hour = 0; hour < 72; hour += 1) {
      await publisher.publish(event(hour));
      await clock.pass(day / 24);
    }
    expect(new Set(appender.calls.map((call) => call.publisher)).size).toBe(1);
  });

  test("is the same for as long as a batch is in doubt, though an outage lasts for days", async () => {
    const backoff = { delayMsMin: day / 24, delayMsMax: day / 24 };
    const { appender, publisher, clock } = makeTestPublisher({ backoff });
    await publisher.publish(event(1));
    appender.next("lose answer", ...Array.from({ length: 47 }, () => "lose request" as const));
    const id = publisher.publish(event(2));
    await clock.pass(2 * day);
    expect(await id).toBe(2n);
    expect(appender.committed.map((it) => it.data)).toEqual(["1", "2"]);
  });
});

describe("a publisher that the log has forgotten", () => {
  test("before its first batch is told so: under another name it would be no other", async () => {
    const { appender, publisher } = makeTestPublisher();
    appender.next(new PgstreamError("publish_unknown", "this publisher is forgotten"));
    expect(await outcomeOf(publisher.publish(event(1)))).toBe("publish_unknown");
    expect(appender.calls).toHaveLength(1);
  });

  test("goes on under a new name when nothing of it is in doubt", async () => {
    const { appender, publisher } = makeTestPublisher();
    await publisher.publish(event(1));
    appender.forget();
    expect(await publisher.publish(event(2))).toBe(2n);
    expect(appender.calls.map((call) => [call.publisher, call.number])).toEqual([
      ["publisher-1", 1n],
      ["publisher-1", 2n],
      ["publisher-2", 1n],
    ]);
    expect(appender.committed).toHaveLength(2);
  });

  test("takes a new name while the log still knows the old one, so that nothing is unknown for having been idle", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    await publisher.publish(event(1));
    await clock.pass(86_400_001);
    appender.forget();
    appender.next("lose request");
    const id = publisher.publish(event(2));
    await clock.pass(100);
    expect(await id).toBe(2n);
    expect(appender.calls.map((call) => call.publisher)).toEqual([
      "publisher-1",
      "publisher-2",
      "publisher-2",
    ]);
  });

  test("says unknown when a batch is in doubt, and goes on with the next", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    await publisher.publish(event(1));
    appender.next("lose answer");
    const doubtful = outcomeOf(publisher.publish(event(2)));
    await settle();
    appender.forget();
    await clock.pass(100);
    expect(await doubtful).toBe("publish_unknown");
    expect(await publisher.publish(event(3))).toBe(3n);
    expect(appender.committed.map((it) => it.data)).toEqual(["1", "2", "3"]);
  });
});

describe("a refusal after an outcome that is unknown", () => {
  const denied = new PgstreamError("permission_denied", "no right to publish any more");

  test("cannot say that nothing was written: unknown", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    appender.next("lose answer", denied);
    const doubtful = outcomeOf(publisher.publish(event("first")));
    await clock.pass(100);
    expect(await doubtful).toBe("publish_unknown");
  });

  test("that has become known since is believed", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    appender.next("lose answer");
    const first = publisher.publish(event("first"));
    await clock.pass(100);
    expect(await first).toBe(1n);
    appender.next(denied);
    expect(await outcomeOf(publisher.publish(event("second")))).toBe("permission_denied");
  });

  test.each([
    "invalid_event",
    "invalid_topic",
    "unknown_topic",
    "event_too_large",
    "idempotency_conflict",
  ] as const)("says what is wrong with the events: %s", async (code) => {
    const { appender, publisher, clock } = makeTestPublisher();
    appender.next("lose request", new PgstreamError(code, "planted"));
    const refused = outcomeOf(publisher.publish(event("first")));
    await clock.pass(100);
    expect(await refused).toBe(code);
  });

  const unwanted = new PgstreamError("unknown_topic", "no such topic");

  test("of the events themselves is told, and an attempt that comes through after it is not taken for the next batch", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    appender.next("lose request", unwanted);
    const refused = outcomeOf(publisher.publish(event("first")));
    await clock.pass(100);
    expect(await refused).toBe("unknown_topic");
    const [first] = appender.calls;
    if (first === undefined) throw new Error("nothing was sent");
    await appender.append(first);
    expect(await publisher.publish(event("second"))).toBe(2n);
    expect(appender.committed.map((it) => it.data)).toEqual(['"first"', '"second"']);
  });

  test("never answers the next events with the ids of the doubtful ones", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    appender.next("lose answer", denied);
    const doubtful = outcomeOf(publisher.publish(event("first")));
    await clock.pass(100);
    await doubtful;
    const id = await publisher.publish(event("second"));
    expect(appender.committed).toEqual([
      { id: 1n, topic: "t", data: '"first"' },
      { id: 2n, topic: "t", data: '"second"' },
    ]);
    expect(id).toBe(2n);
  });

  test("of the event itself is certain: had it been written, the log would have answered its id", async () => {
    const { appender, publisher, clock } = makeTestPublisher();
    appender.next("lose request");
    const results = [event("bad"), event(2)].map(async (it) => await outcomeOf(publisher.publish(it)));
    await clock.pass(100);
    expect(await Promise.all(results)).toEqual(["invalid_event", 1n]);
  });
});

test("a full buffer makes the caller wait until there is room, in order", async () => {
  const { appender, publisher } = makeTestPublisher({ bufferEventsMax: 3, batchEventsMax: 2 });
  const release = appender.hold();
  const calls = Array.from({ length: 10 }, async (_, n) => await publisher.publish(event(n)));
  await settle();
  expect(publisher.status().waiting).toBe(10);
  release();
  expect(await Promise.all(calls)).toEqual(Array.from({ length: 10 }, (_, n) => BigInt(n + 1)));
  expect(Math.max(...batchSizes(appender))).toBeLessThanOrEqual(2);
  expect(publisher.status().waiting).toBe(0);
});

test("what has been answered makes room again, in bytes too", async () => {
  const { appender, publisher } = makeTestPublisher({ bufferBytesMax: 250 });
  const large = (): EventDraft => event("x".repeat(100));
  for (let round = 0; round < 5; round += 1) {
    appender.calls.length = 0;
    await Promise.all([large(), large(), large(), large()].map(async (it) => await publisher.publish(it)));
    expect(batchSizes(appender)).toEqual([2, 2]);
  }
});
