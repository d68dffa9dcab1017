import { expect, test } from "bun:test";

import { openStore } from "../../src/library/open-store.ts";
import { batchOf, failureOf, leaseOf } from "./support/store-samples.ts";

test("a sqlite: URL opens a SQLite store", async () => {
  const store = await openStore("sqlite::memory:");
  await store.prepare();
  await store.commit(await leaseOf(store), batchOf([1n], "after 1"));
  expect(await store.cursor("consumer")).toBe("after 1");
  await store.close();
});

test("a mongodb: URL opens a MongoDB store, whether its server is there or not", async () => {
  const store = await openStore("mongodb://user:s3cr3t@127.0.0.1:1/consumer", { deadlineMs: 100 });
  const failure = await failureOf(store.prepare());
  expect(failure).toMatchObject({ code: "store_unavailable", retryable: true });
  expect(Bun.inspect(failure)).not.toContain("s3cr3t");
  await store.close();
});

test("a MongoDB server that cannot be reached is said to be so, and not to be slow", async () => {
  const store = await openStore("mongodb://127.0.0.1:1/consumer", { deadlineMs: 2_000 });
  expect(String(await failureOf(store.prepare()))).toContain("ECONNREFUSED");
  await store.close();
});

test("a deadline that is no number of milliseconds is refused", async () => {
  for (const deadlineMs of [0, Number.NaN, 2 ** 40]) {
    for (const url of ["sqlite::memory:", "mongodb://127.0.0.1:1/consumer"]) {
      const failure = await failureOf(openStore(url, { deadlineMs }));
      expect(failure).toMatchObject({ code: "invalid_config" });
      expect(String(failure)).toContain("deadlineMs");
    }
  }
});

test("any other URL is refused without being shown", async () => {
  for (const url of ["postgres://user:s3cr3t@host/db", "user:s3cr3t@host", "", "sqlite"]) {
    const failure = await failureOf(openStore(url));
    expect(failure).toMatchObject({ code: "invalid_config" });
    expect(Bun.inspect(failure)).not.toContain("s3cr3t");
  }
});
