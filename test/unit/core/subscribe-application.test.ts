//! What an application keeps may be out of reach, as the log may be: its own errors are waited out, and not counted as those of
//! its handler.

import { describe, expect, test } from "bun:test";

import { PgstreamError } from "../../../src/core/errors.ts";
import type { EventHandler } from "../../../src/core/subscribe/event-handler.ts";
import { makeSubscription } from "./fake-subscription.ts";
import { outcomeOf } from "./fakes.ts";

/** A database of the application's own that is away for a while. */
const makeAway = () => {
  const away = { is: false };
  const reach = async (): Promise<void> => {
    await Promise.resolve();
    if (away.is) throw new Error("connect ECONNREFUSED");
  };
  return { away, reach };
};

/** An application that keeps its effect and its cursor there. */
const makeApplication = () => {
  const { away, reach } = makeAway();
  const handled: bigint[] = [];
  let stored: string | null = null;
  const handler: EventHandler = {
    cursor: async () => {
      await reach();
      return stored;
    },
    handle: async (events, { cursor }) => {
      await reach();
      handled.push(...events.map((event) => event.id));
      stored = cursor;
    },
  };
  return { away, handler, handled };
};

describe("an application whose own database is away", () => {
  test("is asked where it was for as long as that takes", async () => {
    const { away, handler, handled } = makeApplication();
    const { database, run, clock, stop, retries } = makeSubscription({ handlerRetriesMax: 0 }, handler);
    away.is = true;
    const running = run();
    await clock.pass(600_000);
    expect(retries.length).toBeGreaterThan(100);
    expect(retries.at(-1)).toMatchObject({ code: "store_unavailable", retryable: true });
    away.is = false;
    database.publish("a");
    await clock.pass(10_000);
    expect(handled).toEqual([1n]);
    stop.abort();
    await running;
  });

  test("while it has a batch in hand fails on it once, however long that takes", async () => {
    const { away, handler, handled } = makeApplication();
    const { database, run, clock, stop } = makeSubscription({ handlerRetriesMax: 1 }, handler);
    const running = run();
    await clock.pass(1_500);
    away.is = true;
    database.publish("a");
    await clock.pass(600_000);
    away.is = false;
    await clock.pass(10_000);
    expect(handled).toEqual([1n]);
    stop.abort();
    await running;
  });

  test("is told later where it starts, and how far it has moved on", async () => {
    const { away, reach } = makeAway();
    const advanced: string[] = [];
    const { database, run, clock, stop } = makeSubscription(
      { from: { kind: "latest" } },
      {
        cursor: async () => await Promise.resolve(advanced.at(-1) ?? null),
        advance: async (cursor) => {
          await reach();
          advanced.push(cursor);
        },
      },
    );
    away.is = true;
    const running = run();
    await clock.pass(60_000);
    database.publish("a");
    away.is = false;
    await clock.pass(10_000);
    expect(advanced.length).toBeGreaterThan(0);
    stop.abort();
    await running;
  });

  test("may say that waiting does not help", async () => {
    const { run } = makeSubscription(
      {},
      { cursor: async () => await Promise.reject(new PgstreamError("store_error", "planted")) },
    );
    expect(await outcomeOf(run())).toBe("store_error");
  });
});

test("a handler that gives up because it was told to stop has not failed", async () => {
  const { database, run, stop } = makeSubscription(
    { handlerRetriesMax: 0 },
    {
      handle: async (_, { signal }) => {
        stop.abort();
        await Promise.resolve();
        signal.throwIfAborted();
      },
    },
  );
  database.publish("a");
  expect(await outcomeOf(run())).toBeUndefined();
});

describe("an application that answers, when it is asked where it was,", () => {
  const answering = (cursor: unknown) => {
    const handled: bigint[] = [];
    const handler: EventHandler = {
      cursor: async () => await Promise.resolve(cursor as null),
      handle: async (events) => {
        handled.push(...events.map(({ id }) => id));
        await Promise.resolve();
      },
    };
    return { ...makeSubscription({}, handler), handled };
  };

  test("nothing starts as with null: a row that is not there has no cursor", async () => {
    const { database, run, clock, stop, handled } = answering(undefined);
    database.publish("a");
    const running = run();
    await clock.pass(1_000);
    stop.abort();
    await running;
    expect(handled).toEqual([1n]);
  });

  test("what is no text is told so", async () => {
    const { run } = answering(42n);
    expect(await outcomeOf(run())).toBe("invalid_cursor");
  });
});
