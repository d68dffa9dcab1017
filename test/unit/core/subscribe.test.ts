import { describe, expect, test } from "bun:test";

import { decodeCursor } from "../../../src/core/cursor-codec.ts";
import { PgstreamError } from "../../../src/core/errors.ts";
import type { Tail } from "../../../src/core/tail/tail.ts";
import { makeSubscription, retryable } from "./fake-subscription.ts";
import { isPending, outcomeOf, settle } from "./fakes.ts";

describe("delivering", () => {
  test("is in order, in batches no larger than told, and then waits", async () => {
    const { database, handled, run, stop, lives } = makeSubscription();
    for (let n = 0; n < 11; n += 1) database.publish("a");
    const running = run();
    await settle(500);
    expect(handled).toEqual(Array.from({ length: 11 }, (_, n) => BigInt(n + 1)));
    expect(lives()).toBe(1);
    stop.abort();
    await running;
  });

  test("never hands over two batches at once", async () => {
    let inHand = 0;
    let most = 0;
    const { database, run, clock, stop } = makeSubscription(
      {},
      {
        handle: async () => {
          inHand += 1;
          most = Math.max(most, inHand);
          await clock.sleep(50);
          inHand -= 1;
        },
      },
    );
    for (let n = 0; n < 9; n += 1) database.publish("a");
    const running = run();
    await clock.pass(10_000);
    stop.abort();
    await running;
    expect(most).toBe(1);
    expect(inHand).toBe(0);
  });

  test("hands over the cursor behind the batch: whoever starts from it gets exactly the rest", async () => {
    const cursors: { cursor: string; upTo: bigint }[] = [];
    const { database, run, stop } = makeSubscription(
      {},
      {
        handle: async (events, { cursor }) => {
          await Promise.resolve();
          cursors.push({ cursor, upTo: events.at(-1)?.id ?? 0n });
        },
      },
    );
    for (let n = 0; n < 7; n += 1) database.publish("a");
    const running = run();
    await settle(500);
    stop.abort();
    await running;
    expect(cursors.map((it) => it.upTo)).toEqual([2n, 4n, 6n, 7n]);
    for (const { cursor, upTo } of cursors) {
      const again = makeSubscription({ from: { kind: "cursor", cursor: decodeCursor(cursor) } });
      for (let n = 0; n < 7; n += 1) again.database.publish("a");
      const rerunning = again.run();
      await settle(500);
      again.stop.abort();
      await rerunning;
      expect(again.handled).toEqual(database.rows.map((row) => row.id).filter((id) => id > upTo));
    }
  });
});

describe("a batch whose handler fails", () => {
  /** Commits effect and cursor together; the first answers are lost. */
  const makeApplication = (answersLost: number, isCommitted: boolean) => {
    const state: { cursor: string | null; applied: bigint[]; calls: number } = {
      cursor: null,
      applied: [],
      calls: 0,
    };
    const it = makeSubscription(
      {},
      {
        cursor: async () => await Promise.resolve(state.cursor),
        handle: async (events, { cursor }) => {
          await Promise.resolve();
          state.calls += 1;
          const isLost = state.calls <= answersLost;
          if (isCommitted || !isLost) {
            state.applied.push(...events.map(({ id }) => id));
            state.cursor = cursor;
          }
          if (isLost) throw retryable();
        },
      },
    );
    return { ...it, state };
  };

  test.each([
    ["was committed all the same is not handed over again", true],
    ["was not committed comes again", false],
  ])("and that %s", async (_, isCommitted) => {
    const { database, run, stop, clock, state } = makeApplication(2, isCommitted);
    for (let n = 0; n < 4; n += 1) database.publish("a");
    const running = run();
    await clock.pass(60_000);
    expect(state.applied).toEqual([1n, 2n, 3n, 4n]);
    expect(state.calls).toBe(isCommitted ? 2 : 4);
    stop.abort();
    await running;
  });
});

describe("hints", () => {
  test("one during work is not lost: it is cleared before looking, never after", async () => {
    const { database, run, stop, handled, raise } = makeSubscription();
    const running = run();
    await settle(200);
    // The event is committed and hinted at while a look that does not see it is on its way.
    let isFirst = true;
    raise();
    database.before = (call) => {
      if (call !== "look" || !isFirst) return;
      isFirst = false;
      const transaction = database.begin();
      transaction.publish("a");
      void settle(5).then(() => {
        transaction.commit();
        raise();
      });
    };
    await settle(500);
    expect(handled).toEqual([1n]);
    stop.abort();
    await running;
  });

  test("are not needed: the poll interval covers for a lost one", async () => {
    const { database, run, stop, handled, clock } = makeSubscription();
    const running = run();
    await settle(200);
    database.publish("a");
    await clock.pass(999);
    expect(handled).toEqual([]);
    await clock.pass(2);
    expect(handled).toEqual([1n]);
    stop.abort();
    await running;
  });

  test("wake who waits at once", async () => {
    const { database, run, stop, handled, raise } = makeSubscription();
    const running = run();
    await settle(200);
    database.publish("a");
    raise();
    await settle(200);
    expect(handled).toEqual([1n]);
    stop.abort();
    await running;
  });
});

test("what it does is told: each batch that it has in hand, and each that is done", async () => {
  const { database, run, stop, told } = makeSubscription();
  for (let n = 0; n < 3; n += 1) database.publish("a");
  const running = run();
  await settle(300);
  stop.abort();
  await running;
  expect(told).toEqual(["in hand", "done: 1, 2", "in hand", "done: 3", "live"]);
});

test("leaves the tail when it ends, so that nothing waits there for nobody", async () => {
  let members = 0;
  const leave = (): void => {
    members -= 1;
  };
  const tail: Tail = {
    join: () => {
      members += 1;
      return { first: () => null, drop: () => {}, isOpen: () => true, leave };
    },
  };
  const { run, stop } = makeSubscription({}, {}, { tail });
  const running = run();
  await settle(300);
  expect(members).toBe(1);
  stop.abort();
  await running;
  expect(members).toBe(0);
});

describe("a handler that fails", () => {
  test("gets the same batch again, a bounded number of times, then the subscription stops in front of it", async () => {
    const attempts: bigint[][] = [];
    const { database, run, clock, store, retries } = makeSubscription(
      {},
      {
        handle: async (events) => {
          await Promise.resolve();
          attempts.push(events.map((event) => event.id));
          throw new Error("planted");
        },
      },
    );
    for (let n = 0; n < 5; n += 1) database.publish("a");
    const outcome = outcomeOf(run());
    await clock.pass(60_000);
    expect(await outcome).toBe("handler_failed");
    expect(attempts).toEqual([
      [1n, 2n],
      [1n, 2n],
      [1n, 2n],
      [1n, 2n],
    ]);
    expect(retries).toHaveLength(3);
    expect(store.cursor).toBeNull();
  });

  test("and recovers is forgiven: the next batch has all its retries again", async () => {
    let calls = 0;
    const seen: bigint[] = [];
    const { database, run, clock, stop } = makeSubscription(
      {},
      {
        handle: async (events) => {
          await Promise.resolve();
          calls += 1;
          if (calls % 4 !== 0) throw new Error("planted");
          seen.push(...events.map((event) => event.id));
        },
      },
    );
    for (let n = 0; n < 6; n += 1) database.publish("a");
    const running = run();
    await clock.pass(60_000);
    expect(seen).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
    stop.abort();
    await running;
  });

  test("for a reason that waiting mends is asked for ever, at a bounded pace", async () => {
    let calls = 0;
    const { database, run, clock, stop } = makeSubscription(
      {},
      {
        handle: async () => {
          await Promise.resolve();
          calls += 1;
          if (calls < 500) throw retryable();
        },
      },
    );
    database.publish("a");
    const running = run();
    await clock.pass(600_000);
    expect(calls).toBe(500);
    expect(Math.max(...clock.slept.slice(0, -1))).toBeLessThanOrEqual(1_000);
    stop.abort();
    await running;
  });

  test("because its lease is lost stops at once", async () => {
    const lost = new PgstreamError("lease_lost", "planted");
    const { database, run } = makeSubscription({}, { handle: async () => await Promise.reject(lost) });
    database.publish("a");
    expect(await outcomeOf(run())).toBe("lease_lost");
  });
});

describe("stopping", () => {
  test("lets the batch in hand finish and count, and starts nothing else", async () => {
    const started: bigint[] = [];
    const finished: bigint[] = [];
    const gate = Promise.withResolvers<void>();
    const { database, run, stop } = makeSubscription(
      {},
      {
        handle: async (events, { signal }) => {
          started.push(...events.map((event) => event.id));
          await gate.promise;
          expect(signal.aborted).toBe(true);
          finished.push(...events.map((event) => event.id));
        },
      },
    );
    for (let n = 0; n < 8; n += 1) database.publish("a");
    const running = run();
    await settle(200);
    stop.abort();
    expect(await isPending(running)).toBe(true);
    const calls = database.calls.length;
    gate.resolve();
    await running;
    expect(started).toEqual([1n, 2n]);
    expect(finished).toEqual([1n, 2n]);
    expect(database.calls).toHaveLength(calls);
  });

  test("does not repeat a batch that failed", async () => {
    let calls = 0;
    const { database, run, stop } = makeSubscription(
      {},
      {
        handle: async () => {
          calls += 1;
          stop.abort();
          await Promise.reject(new Error("planted"));
        },
      },
    );
    database.publish("a");
    await run();
    expect(calls).toBe(1);
  });

  test("hands over nothing that was still being read, and stores no cursor", async () => {
    const { database, run, stop, handled, advanced, clock } = makeSubscription({ advanceIntervalMs: 0 });
    database.publish("a");
    database.before = (call) => {
      if (call === "firstPage") stop.abort();
    };
    await run();
    expect(handled).toEqual([]);
    expect(advanced).toEqual([]);
    expect(clock.sleepers()).toBe(0);
  });

  test("has not failed when it cuts off what is being read", async () => {
    const { database, run, stop, retries } = makeSubscription();
    database.publish("a");
    database.before = (call) => {
      if (call !== "firstPage") return;
      stop.abort();
      throw new PgstreamError("database_unavailable", "the connection has been closed on our side");
    };
    expect(await outcomeOf(run())).toBeUndefined();
    expect(retries).toEqual([]);
  });

  test("ends a wait for a hint, and one before a retry", async () => {
    const waiting = makeSubscription();
    const running = waiting.run();
    await settle(200);
    waiting.stop.abort();
    await running;

    const broken = makeSubscription();
    broken.database.before = () => {
      throw retryable();
    };
    const retrying = broken.run();
    await settle(200);
    expect(broken.clock.sleepers()).toBe(1);
    broken.stop.abort();
    await retrying;
  });

  test("before it began, it does nothing", async () => {
    const { run, stop, database } = makeSubscription();
    stop.abort();
    await run();
    expect(database.calls).toEqual([]);
  });
});
