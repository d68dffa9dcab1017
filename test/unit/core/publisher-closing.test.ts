//! A publisher that is closed: what was accepted is answered in time, and truly.

import { expect, test } from "bun:test";

import { PgstreamError } from "../../../src/core/errors.ts";
import { event, makeTestPublisher } from "./fake-publisher.ts";
import { isPending, outcomeOf, settle } from "./fakes.ts";

test("flushes what was accepted, and takes no more", async () => {
  const { appender, publisher } = makeTestPublisher({ batchEventsMax: 2 });
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
  const { publisher } = makeTestPublisher();
  await publisher.close(1_000);
  await publisher.close(1_000);
});

test("waits for a tick that is on its way, but no longer than it may, and leaves no timer behind", async () => {
  const tick = Promise.withResolvers<void>();
  const { publisher, clock } = makeTestPublisher({ settled: async () => await tick.promise });
  await publisher.publish(event(1));
  const [soon, late] = [publisher.close(1_000), publisher.close(5_000)];
  await clock.pass(1_000);
  expect([await isPending(soon), await isPending(late)]).toEqual([false, true]);
  tick.resolve();
  await late;
  expect(clock.sleepers()).toBe(0);
});

/** What becomes of an event when the publisher is closed while it cannot be published. */
const publishAndGiveUp = async ({
  publisher,
  clock,
}: Pick<ReturnType<typeof makeTestPublisher>, "publisher" | "clock">): Promise<unknown> => {
  const outcome = outcomeOf(publisher.publish(event(1)));
  await settle();
  const closed = publisher.close(2_000);
  await clock.pass(2_000);
  await closed;
  return await outcome;
};

test("gives up waiting for an outage after its timeout: unknown for the batch in hand", async () => {
  const { appender, publisher, clock } = makeTestPublisher();
  appender.next(...Array.from({ length: 500 }, () => "lose request" as const));
  expect(await publishAndGiveUp({ publisher, clock })).toBe("publish_unknown");
});

const unreachable = new PgstreamError("database_unavailable", "connection refused", {
  retryable: true,
  details: { sent: false },
});

test("gives up on a database that was never reached: known not to be published", async () => {
  const { appender, publisher, clock } = makeTestPublisher();
  appender.next(...Array.from({ length: 500 }, () => unreachable));
  expect(await publishAndGiveUp({ publisher, clock })).toBe("database_unavailable");
});

test("gives up on a database that cannot be reached any more: unknown for what it may have got before", async () => {
  const { appender, publisher, clock } = makeTestPublisher();
  appender.next("lose answer", ...Array.from({ length: 500 }, () => unreachable));
  expect(await publishAndGiveUp({ publisher, clock })).toBe("publish_unknown");
});

test("gives up on a statement that never answers after its timeout: unknown for its events", async () => {
  const { appender, publisher, clock } = makeTestPublisher();
  appender.next("hang");
  const doubtful = outcomeOf(publisher.publish(event(1)));
  await settle();
  const closed = publisher.close(2_000);
  await clock.pass(2_000);
  expect(await isPending(closed)).toBe(false);
  expect(await doubtful).toBe("publish_unknown");
});

test("sends nothing new after its timeout: what had not been sent is known not to be published", async () => {
  const { appender, publisher, clock } = makeTestPublisher();
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
