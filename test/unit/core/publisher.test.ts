import { describe, expect, test } from "bun:test";

import { PgstreamError } from "../../../src/core/errors.ts";
import type { EventDraft } from "../../../src/core/event.ts";
import { makePublisher, type PublisherOptions } from "../../../src/core/publish/publisher.ts";
import { makeFakeAppender } from "./fake-appender.ts";
import { isPending, makeFakeClock, makeFakeLogger, outcomeOf, settle } from "./fakes.ts";

/** One lane, unless told otherwise. */
const setup = ({ lanes = 1, ...options }: Partial<PublisherOptions> & { readonly lanes?: number } = {}) => {
  const appender = makeFakeAppender();
  const clock = makeFakeClock();
  const announced: bigint[] = [];
  let names = 0;
  const publisher = makePublisher(
    {
      appenders: Array.from({ length: lanes }, () => appender),
      announcer: { announce: (lastId) => void announced.push(lastId), settled: async () => {} },
      clock,
      random: () => 0.5,
      newId: () => `publisher-${(names += 1)}`,
      logger: makeFakeLogger(),
    },
    {
      batchEventsMax: 1_000,
      batchBytesMax: 2 ** 20,
      bufferEventsMax: 10_000,
      bufferBytesMax: 2 ** 24,
      callBytesMax: 2 ** 28,
      eventBytesMax: 2 ** 20,
      furtherLaneEventsMin: 1,
      backoff: { delayMsMin: 50, delayMsMax: 5_000 },
      ...options,
    },
  );
  return { appender, clock, publisher, announced };
};

const event = (data: unknown, topic = "t"): EventDraft => ({ topic, data });
const batchSizes = (appender: ReturnType<typeof makeFakeAppender>): number[] =>
  appender.calls.map((call) => call.events.length);

describe("batching", () => {
  test("what is called while a batch is on its way goes out together in the next one", async () => {
    const { appender, publisher } = setup();
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
    const { appender, publisher } = setup();
    await Promise.all([1, 2, 3].map(async (n) => await publisher.publish(event(n))));
    expect(batchSizes(appender)).toEqual([3]);
  });

  test("ids grow in the order of the calls, whatever the batches", async () => {
    const { publisher, appender } = setup({ batchEventsMax: 7 });
    const ids = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => await publisher.publish(event(n))),
    );
    expect(ids).toEqual(ids.toSorted((a, b) => Number(a - b)));
    expect(appender.committed.map((it) => it.data)).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
    expect(Math.max(...batchSizes(appender))).toBe(7);
  });

  test("a batch is never more than the limits, but a call of several events is never split", async () => {
    const { appender, publisher } = setup({ batchEventsMax: 10 });
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
    const { appender, publisher } = setup({ batchBytesMax: 250 });
    await Promise.all([1, 2, 3].map(async () => await publisher.publish(event("x".repeat(100)))));
    expect(batchSizes(appender)).toEqual([2, 1]);
  });

  test("batches are numbered one by one, and each is announced once with its last id", async () => {
    const { appender, publisher, announced } = setup();
    await publisher.publish([event(1, "a"), event(2, "b"), event(3, "a")]);
    await publisher.publish(event(4, "c"));
    expect(appender.calls.map((call) => call.number)).toEqual([1n, 2n]);
    expect(announced).toEqual([3n, 4n]);
    expect(publisher.status()).toEqual({ waiting: 0, retrying: null, published: 4 });
  });

  test("an empty list is published at once: there is nothing to write", async () => {
    const { appender, publisher } = setup();
    expect(await publisher.publish([])).toEqual([]);
    expect(appender.calls).toEqual([]);
  });
});

test("a list with a hole in it is refused, and takes nobody else's ids", async () => {
  const { publisher } = setup();
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
    const { appender, publisher } = setup();
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

  test("takes the others of its own call with it", async () => {
    const { appender, publisher } = setup();
    const results = await Promise.all([
      outcomeOf(publisher.publish([event(1), event("bad"), event(3)])),
      outcomeOf(publisher.publish(event(4))),
    ]);
    expect(results).toEqual(["invalid_event", 1n]);
    expect(appender.committed.map((it) => it.data)).toEqual(["4"]);
  });

  test("that is refused before it is sent disturbs nobody", async () => {
    const { appender, publisher } = setup({ eventBytesMax: 100 });
    const drafts = [event(1n), event(1, "no topic"), event("x".repeat(100)), event(2)];
    expect(await Promise.all(drafts.map(async (draft) => await outcomeOf(publisher.publish(draft))))).toEqual(
      ["invalid_event", "invalid_topic", "event_too_large", 1n],
    );
    expect(batchSizes(appender)).toEqual([1]);
    expect(publisher.status().waiting).toBe(0);
  });
});

test("a call that is larger than a statement may be is refused before it is sent", async () => {
  const { appender, publisher } = setup({ callBytesMax: 100 });
  const large = [event("x".repeat(60)), event("y".repeat(60))];
  expect(await outcomeOf(publisher.publish(large))).toBe("event_too_large");
  expect(await publisher.publish(event("x".repeat(60)))).toBe(1n);
  expect(batchSizes(appender)).toEqual([1]);
  expect(publisher.status().waiting).toBe(0);
});

describe("an outcome that is unknown", () => {
  test.each(["lose answer", "lose request"] as const)(
    "is repeated under the same number with the same events until the log answers: %s",
    async (outcome) => {
      const { appender, publisher, clock } = setup();
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
    const { appender, publisher, clock } = setup();
    appender.next(...Array.from({ length: 500 }, () => "lose request" as const));
    const published = publisher.publish(event(1));
    await clock.pass(3_600_000);
    expect(await published).toBe(1n);
    expect(appender.calls).toHaveLength(501);
    expect(Math.max(...clock.slept)).toBeLessThanOrEqual(5_000);
  });
});

describe("a publisher that the log has forgotten", () => {
  test("goes on under a new name when nothing of it is in doubt", async () => {
    const { appender, publisher } = setup();
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
    const { appender, publisher, clock } = setup();
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
    const { appender, publisher, clock } = setup();
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
    const { appender, publisher, clock } = setup();
    appender.next("lose answer", denied);
    const doubtful = outcomeOf(publisher.publish(event("first")));
    await clock.pass(100);
    expect(await doubtful).toBe("publish_unknown");
  });

  const unwanted = new PgstreamError("unknown_topic", "no such topic");

  test("of the events themselves is told, and an attempt that comes through after it is not taken for the next batch", async () => {
    const { appender, publisher, clock } = setup();
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
    const { appender, publisher, clock } = setup();
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
    const { appender, publisher, clock } = setup();
    appender.next("lose request");
    const results = [event("bad"), event(2)].map(async (it) => await outcomeOf(publisher.publish(it)));
    await clock.pass(100);
    expect(await Promise.all(results)).toEqual(["invalid_event", 1n]);
  });
});

test("a full buffer makes the caller wait until there is room, in order", async () => {
  const { appender, publisher } = setup({ bufferEventsMax: 3, batchEventsMax: 2 });
  const release = appender.hold();
  const calls = Array.from({ length: 10 }, async (_, n) => await publisher.publish(event(n)));
  await settle();
  expect(publisher.status().waiting).toBe(10);
  release();
  expect(await Promise.all(calls)).toEqual(Array.from({ length: 10 }, (_, n) => BigInt(n + 1)));
  expect(Math.max(...batchSizes(appender))).toBeLessThanOrEqual(2);
  expect(publisher.status().waiting).toBe(0);
});

describe("closing", () => {
  test("flushes what was accepted, and takes no more", async () => {
    const { appender, publisher } = setup({ batchEventsMax: 2 });
    const release = appender.hold();
    const calls = Array.from({ length: 5 }, async (_, n) => await publisher.publish(event(n)));
    await settle();
    const closed = publisher.close(1_000);
    const late = outcomeOf(publisher.publish(event("late")));
    release();
    await closed;
    expect(await Promise.all(calls)).toHaveLength(5);
    expect(await late).toBe("database_unavailable");
    expect(appender.committed).toHaveLength(5);
  });

  test("an idle publisher closes at once, twice too", async () => {
    const { publisher } = setup();
    await publisher.close(1_000);
    await publisher.close(1_000);
  });

  test("gives up waiting for an outage after its timeout: unknown for the batch in hand", async () => {
    const { appender, publisher, clock } = setup();
    appender.next(...Array.from({ length: 500 }, () => "lose request" as const));
    const doubtful = outcomeOf(publisher.publish(event(1)));
    await settle();
    const closed = publisher.close(2_000);
    await clock.pass(2_000);
    await closed;
    expect(await doubtful).toBe("publish_unknown");
  });

  const unreachable = new PgstreamError("database_unavailable", "connection refused", {
    retryable: true,
    details: { sent: false },
  });

  test("gives up on a database that was never reached: known not to be published", async () => {
    const { appender, publisher, clock } = setup();
    appender.next(...Array.from({ length: 500 }, () => unreachable));
    const waiting = outcomeOf(publisher.publish(event(1)));
    await settle();
    const closed = publisher.close(2_000);
    await clock.pass(2_000);
    await closed;
    expect(await waiting).toBe("database_unavailable");
  });

  test("gives up on a database that cannot be reached any more: unknown for what it may have got before", async () => {
    const { appender, publisher, clock } = setup();
    appender.next("lose answer", ...Array.from({ length: 500 }, () => unreachable));
    const doubtful = outcomeOf(publisher.publish(event(1)));
    await settle();
    const closed = publisher.close(2_000);
    await clock.pass(2_000);
    await closed;
    expect(await doubtful).toBe("publish_unknown");
  });

  test("gives up on a statement that never answers after its timeout: unknown for its events", async () => {
    const { appender, publisher, clock } = setup();
    appender.next("hang");
    const doubtful = outcomeOf(publisher.publish(event(1)));
    await settle();
    const closed = publisher.close(2_000);
    await clock.pass(2_000);
    expect(await isPending(closed)).toBe(false);
    expect(await doubtful).toBe("publish_unknown");
  });

  test("sends nothing new after its timeout: what had not been sent is known not to be published", async () => {
    const { appender, publisher, clock } = setup();
    appender.next("hang");
    const inHand = outcomeOf(publisher.publish(event(1)));
    await settle();
    const queued = outcomeOf(publisher.publish(event(2)));
    await settle();
    const closed = publisher.close(2_000);
    await clock.pass(2_000);
    expect(await queued).toBe("database_unavailable");
    await closed;
    await inHand;
    expect(appender.calls).toHaveLength(1);
  });
});
