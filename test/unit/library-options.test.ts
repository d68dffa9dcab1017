//! What an application gives: refused at once where it could not be meant, and not given where it is undefined.

import { describe, expect, test } from "bun:test";

import postgres from "postgres";

import { encodeCursor } from "../../src/core/cursor-codec.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import { makeSnapshot } from "../../src/core/snapshot.ts";
import { checkNumbers, overDefaults } from "../../src/library/given-options.ts";
import { openStore } from "../../src/library/open-store.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { fromOf } from "../../src/library/subscription-options.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { isPending, makeFakeClock, outcomeOf } from "./core/fakes.ts";

const refusal = expect.objectContaining({ code: "invalid_config" }) as Error;
const database = "postgres://nobody@127.0.0.1:1/nothing";
const own = {
  cursor: async (): Promise<string | null> => await Promise.resolve(null),
  handle: async () => {},
};

describe("a database that is no address, or asks for TLS in a way that is not obeyed, is refused at once", () => {
  test.each([
    "",
    "nonsense",
    "mysql://db/app",
    "postgres://",
    "postgres://db/app?sslmode=require",
    "postgres://db/app?application_name=x&ssl=true",
  ])("%p", (it) => {
    expect(() => openPublisher({ database: it })).toThrow(refusal);
  });
});

test("a database whose URL has a stray % is refused at once, and its password not told", () => {
  for (const url of ["postgres://me:hunter%2@db/app", "postgres://db/caf%E9"]) {
    for (const it of [url, { url, tls: "off", ca: null } as const]) {
      const open = () => openPublisher({ database: it });
      expect(open).toThrow(refusal);
      expect(open).toThrow("write %25");
      expect(open).not.toThrow("hunter");
    }
  }
});

describe("a database that is not given, as when an environment variable is not set, is refused at once", () => {
  test.each([undefined, null, 5432, {}, { url: undefined, tls: "off", ca: null }, { url: "db", tls: "off" }])(
    "%p",
    (it) => {
      const given = { database: it as unknown as string };
      expect(() => openPublisher(given)).toThrow(refusal);
      expect(() => openSubscription({ ...given, topics: [">"], ...own })).toThrow(refusal);
    },
  );

  test("and told by its value, unless that may hold a password", () => {
    const given = (it: unknown) => () => openPublisher({ database: it as string });
    expect(given(undefined)).toThrow("database is undefined: give a URL such as postgres://");
    expect(given("me:hunter2@db")).not.toThrow("hunter2");
  });

  test("nor is TLS taken for off where the word for it is wrong or missing", () => {
    const url = database;
    for (const it of [{ url }, { url, tls: "on", ca: null }]) {
      expect(() => openPublisher({ database: it as never })).toThrow(refusal);
    }
  });
});

describe("a subscription that nobody could run is refused at once, in one line", () => {
  const { cursor, handle } = own;
  const store = { commit: async () => {} };
  test.each<readonly [string, object]>([
    ["option topics", { topics: "orders" }],
    ["option topics", { topics: undefined }],
    ["option handle", { handle: undefined }],
    ["option handle", { handle: "orders" }],
    ["option cursor", { cursor: undefined }],
    ["option cursor", { cursor: null }],
    ["option advance", { advance: true }],
    ["option store", { store: undefined }],
    ["option store", { store: null }],
    ["option store", { store: Promise.resolve(store), subscription: "s" }],
    ["option subscription", { store }],
    ["option subscription", { store, subscription: "" }],
    ...[0, 1.5, 2 ** 53, "1000"].map(
      (receiptsAgeMs) =>
        ["option receiptsAgeMs", { cursor: undefined, store, subscription: "s", receiptsAgeMs }] as const,
    ),
    ["option cursor", { store, subscription: "s" }],
    ["option from", { from: null }],
    ["option from.at", { from: { kind: "time", at: new Date("junk") } }],
    ["option from.at", { from: { kind: "time", at: new Date(8.64e15) } }],
    ["option from.at", { from: { kind: "time", at: new Date("0000-12-31T23:59:59Z") } }],
    ["option from.at", { from: { kind: "time", at: new Date("+010000-01-01T00:00:00Z") } }],
    ["option from.at", { from: { kind: "time" } }],
    ["option from.id", { from: { kind: "id", id: 5 } }],
    ["option from.id", { from: { kind: "id", id: -1n } }],
    ["option from.id", { from: { kind: "id", id: 2n ** 63n } }],
    ["option from.cursor", { from: {} }],
    ["option from.cursor", { from: { cursor: undefined } }],
    ["option from.cursor", { from: { kind: "cursor", cursor: "text" } }],
    ["option from.cursor", { from: { kind: "cursor" } }],
    ["option from.kind", { from: { kind: undefined } }],
    ["option from.kind", { from: { kind: undefined, cursor: "text" } }],
    ["option kind", { from: { kind: "date", at: new Date() } }],
  ])("%s: %p", (name, it) => {
    const open = () => openSubscription({ database, topics: ["orders"], cursor, handle, ...it });
    expect(open).toThrow(refusal);
    expect(open).toThrow(name);
  });
});

describe("an option that would lose events, wait for ever or never wait is refused at once", () => {
  test.each([
    { batchEventsMax: 0 },
    { batchEventsMax: Number.NaN },
    { pageEventsMax: 1.5 },
    { pageBytesMax: -1 },
    { pollIntervalMs: 0 },
    { pollIntervalMs: 2 ** 31 },
    { deadlineMs: 0 },
    { handlerRetriesMax: -1 },
    { advanceIntervalMs: Number.NaN },
    { leaseTtlMs: 0 },
    { batchEventsMax: "1000" },
    { onPurged: "ignore" },
    { onEpochChange: "" },
    { wakeups: "push" },
    { from: "now" },
  ])("of a subscription: %j", (it) => {
    const given = it as object;
    expect(() => openSubscription({ database, topics: [">"], ...own, ...given })).toThrow(refusal);
  });

  test.each([
    { batchEventsMax: 0 },
    { batchBytesMax: Number.NaN },
    { bufferEventsMax: 0 },
    { bufferBytesMax: 0.5 },
    { eventBytesMax: -1 },
    { callBytesMax: Infinity },
    { furtherLaneEventsMin: 0 },
    { closeTimeoutMs: -1 },
    { deadlineMs: null },
    { connections: 0 },
    { connections: 1.5 },
    { connections: 17 },
  ])("of a publisher: %p", (it) => {
    const given = it as object;
    expect(() => openPublisher({ database, ...given })).toThrow(refusal);
  });

  test("in one line that says which, what was given, and what to give", () => {
    expect(() => checkNumbers({ batchEventsMax: "many" }, { batchEventsMax: 1 })).toThrow(
      'option batchEventsMax is "many": give a whole number from 1 to 2147483647',
    );
    expect(() =>
      openSubscription({ database, topics: [">"], ...own, ...({ wakeups: "push" } as object) }),
    ).toThrow('option wakeups is "push": give "listen" or "poll"');
    // Not its source, nor what it holds.
    expect(() => checkNumbers({ it: () => "secret" }, { it: 1 })).toThrow("option it is a function: give");
    expect(() => checkNumbers({ it: { secret: 1 } }, { it: 1 })).toThrow("option it is another object: give");
  });
});

describe("what may be meant is taken", () => {
  const at = { epoch: "00000000-0000-4000-8000-000000000000", purge: 0n, seen: makeSnapshot(1n, []) };
  const cursor: Cursor = { ...at, window: null };

  test.each([
    { database: "postgresql://nobody@127.0.0.1:1/nothing" },
    { database: { url: database, tls: "no-verify", ca: null } },
    { database: { url: database, tls: "verify", ca: null } },
    { batchEventsMax: 1 },
    { deadlineMs: 2 ** 31 - 1 },
    { connections: 1 },
    { connections: 16 },
    { closeTimeoutMs: 0 },
  ] as const)("of a publisher: %p", async (it) => {
    await openPublisher({ database, ...it }).close(0);
  });

  test.each([
    { from: "earliest" },
    { from: "latest" },
    { from: { kind: "earliest" } },
    { from: { kind: "latest" } },
    { from: { kind: "time", at: new Date("0001-01-01T00:00:00Z") } },
    { from: { kind: "time", at: new Date("9999-12-31T23:59:59Z") } },
    { from: { kind: "id", id: 0n } },
    { from: { kind: "id", id: 2n ** 63n - 1n } },
    { from: { kind: "cursor", cursor } },
    { from: { cursor: encodeCursor(cursor) } },
    { onPurged: "stop" },
    { onPurged: "skip" },
    { onEpochChange: "stop" },
    { onEpochChange: "cross" },
    { onEpochChange: "restart" },
    { wakeups: "listen" },
    { wakeups: "poll" },
    { handlerRetriesMax: 0 },
    { advanceIntervalMs: 0 },
    { advance: async () => {} },
  ] as const)("of a subscription: %p", async (it) => {
    await openSubscription({ database, topics: [">"], ...own, ...it }).stop();
  });

  test.each([undefined, null, 1, 2 ** 31])("as the age of receipts: %p", async (receiptsAgeMs) => {
    const store = await openStore("sqlite::memory:");
    const { handle } = own;
    const given = { store, subscription: "s", ...(receiptsAgeMs !== undefined && { receiptsAgeMs }) };
    await openSubscription({ database, topics: [">"], handle, ...given }).stop();
    await store.close();
  });

  test("and a cursor's text for the place that it is", () => {
    expect(fromOf({ cursor: encodeCursor(cursor) })).toEqual({ kind: "cursor", cursor });
    expect(fromOf(undefined)).toEqual({ kind: "earliest" });
  });

  test("a driver that lacks the patch is not", () => {
    const driver = postgres as { isPatchedForPgstream?: boolean };
    driver.isPatchedForPgstream = false;
    try {
      expect(() => openPublisher({ database })).toThrow("patchedDependencies");
      expect(() => openSubscription({ database, topics: [">"], ...own })).toThrow(refusal);
    } finally {
      driver.isPatchedForPgstream = true;
    }
  });
});

test.each([
  [100, { closeTimeoutMs: 100 }],
  [10_000, {}],
])("disposing of a publisher waits for %d ms, given %p", async (waitsMs, given) => {
  const clock = makeFakeClock();
  const publisher = openPublisher({ database, clock, ...given });
  const outcome = outcomeOf(publisher.publish({ topic: "orders", data: 1 }));
  const disposed = (async () => await publisher[Symbol.asyncDispose]())();
  await clock.pass(waitsMs - 1);
  expect(await isPending(disposed)).toBe(true);
  await clock.pass(1);
  await disposed;
  await outcome;
});

test("an option that is undefined was not given", () => {
  const given: { readonly batchEventsMax?: number | undefined; readonly onPurged?: "skip" } = {
    batchEventsMax: undefined,
    onPurged: "skip",
  };
  expect(overDefaults({ batchEventsMax: 2_500, onPurged: "stop" }, given)).toEqual({
    batchEventsMax: 2_500,
    onPurged: "skip",
  } as never);
});
