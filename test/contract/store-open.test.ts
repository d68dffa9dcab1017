import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openStore } from "../../src/library/open-store.ts";
import { batchOf, failureOf, leaseOf } from "./support/store-samples.ts";

test("a sqlite: URL opens a SQLite store", async () => {
  const store = await openStore("sqlite::memory:");
  await store.prepare();
  await store.commit(await leaseOf(store), batchOf([1n], "after 1"));
  expect(await store.cursor("consumer")).toBe("after 1");
  await store.close();
});

test("a SQLite store gives up by the deadline that it was given", async () => {
  const path = join(tmpdir(), `pgstream-store-open-${crypto.randomUUID()}.sqlite`);
  const store = await openStore(`sqlite:${path}`, { deadlineMs: 50 });
  const lease = await leaseOf(store);
  {
    using other = new Database(path);
    other.run("begin immediate");
    const since = performance.now();
    const failure = await failureOf(store.commit(lease, batchOf([1n], "after 1")));
    expect(failure).toMatchObject({ code: "store_unavailable", retryable: true });
    // Half of what it would be if nobody had given one.
    expect(performance.now() - since).toBeLessThan(5_000);
  }
  await store.close();
  for (const it of [path, `${path}-wal`, `${path}-shm`]) await rm(it, { force: true });
});

test("a mongodb: URL opens a MongoDB store, whether its server is there or not", async () => {
  const store = await openStore("mongodb://user:s3cr3t@127.0.0.1:1/consumer", { deadlineMs: 1_000 });
  const since = performance.now();
  const failure = await failureOf(store.prepare());
  expect(failure).toMatchObject({ code: "store_unavailable", retryable: true });
  // The reason, and not that it was slow; and by the deadline that was given: without one it takes twice as long.
  expect(String(failure)).toContain("ECONNREFUSED");
  expect(performance.now() - since).toBeLessThan(5_000);
  expect(Bun.inspect(failure)).not.toContain("s3cr3t");
  await store.close();
});

test("a mongodb+srv: URL opens one, too, and a name that nobody can look up is waited for", async () => {
  const store = await openStore("mongodb+srv://nobody.invalid/consumer", { deadlineMs: 2_000 });
  const failure = await failureOf(store.prepare());
  expect(failure).toMatchObject({ code: "store_unavailable", retryable: true });
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
