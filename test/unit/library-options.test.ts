//! What an application gives: refused at once where it could not be meant, and not given where it is undefined.

import { describe, expect, test } from "bun:test";

import { checkNumbers, overDefaults } from "../../src/library/given-options.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { openSubscription } from "../../src/library/subscription.ts";

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
    ["option store", { store: Promise.resolve(store), subscription: "s" }],
    ["option subscription", { store }],
    ["option cursor", { store, subscription: "s" }],
    ["option from", { from: null }],
    ["option from.at", { from: { kind: "time", at: new Date("junk") } }],
    ["option from.at", { from: { kind: "time", at: new Date(8.64e15) } }],
    ["option from.at", { from: { kind: "time" } }],
    ["option from.id", { from: { kind: "id", id: 5 } }],
    ["option from.id", { from: { kind: "id", id: 2n ** 63n } }],
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
  });
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
