import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { connect } from "../../src/adapters/sqlite/connect.ts";
import { openSqliteStore } from "../../src/adapters/sqlite/open-sqlite-store.ts";
import type { ConsumerStore } from "../../src/core/subscribe/store.ts";
import { consumerStoreContract } from "./support/consumer-store-contract.ts";
import { batchOf, course, failureOf, leaseOf, receipt } from "./support/store-samples.ts";
import type { StorePlace } from "./support/store-under-test.ts";

const makeFolder = (): Disposable & { readonly path: string } => {
  const path = mkdtempSync(join(tmpdir(), "pgstream-store-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
};

interface SqlitePlace extends StorePlace {
  readonly path: string;
}

const makePlace = (deadlineMs = 5_000): SqlitePlace => {
  const folder = makeFolder();
  const path = join(folder.path, "store.sqlite");
  const opened: ConsumerStore[] = [];
  return {
    path,
    open: () => {
      const store = openSqliteStore(`sqlite:${path}`, { deadlineMs });
      opened.push(store);
      return store;
    },
    [Symbol.asyncDispose]: async () => {
      for (const store of opened) await store.close();
      folder[Symbol.dispose]();
    },
  };
};

consumerStoreContract("a SQLite file", { makePlace, lacksAtomicUpdates: null });

describe("a SQLite file as a consumer's store", () => {
  test("rolls a commit back whole when a part of it fails, and takes it again", async () => {
    await using place = makePlace();
    const store = place.open();
    const lease = await leaseOf(store);
    const broken = { ...receipt(2n), topic: null as unknown as string };
    const failure = store.commit(lease, {
      writes: [course("x", 1n)],
      receipts: [receipt(1n), broken],
      cursor: "2",
    });
    expect(await failureOf(failure)).toMatchObject({ code: "store_error", retryable: false });
    expect(await store.document("courses", "x")).toBeNull();
    expect(await store.receiptCount()).toBe(0);
    expect(await store.cursor("consumer")).toBeNull();
    await store.commit(lease, batchOf([1n, 2n], "2"));
    expect(await store.receiptCount()).toBe(2);
  });

  test("syncs every commit to the disk, and lets others read meanwhile", async () => {
    await using place = makePlace();
    place.open();
    using connection = connect(place.path, 1_000);
    expect(connection.query("pragma journal_mode").get()).toEqual({ journal_mode: "wal" });
    expect(connection.query("pragma synchronous").get()).toEqual({ synchronous: 2n });
  });

  test("says that it is unavailable while another process holds the file, and recovers", async () => {
    await using place = makePlace(50);
    const store = place.open();
    const lease = await leaseOf(store);
    using other = new Database(place.path);
    other.run("begin immediate");
    const failure = await failureOf(store.commit(lease, batchOf([1n], "1")));
    expect(failure).toMatchObject({ code: "store_unavailable", retryable: true });
    expect(await store.cursor("consumer")).toBeNull();
    other.run("rollback");
    await store.commit(lease, batchOf([1n], "1"));
    expect(await store.cursor("consumer")).toBe("1");
  });

  test("is shared by two processes that write at the same time", async () => {
    await using place = makePlace();
    const program = join(import.meta.dir, "support", "sqlite-writer.ts");
    const writers = ["one", "two"].map((name) =>
      Bun.spawn([process.execPath, program, `sqlite:${place.path}`, name], {
        stdout: "ignore",
        stderr: "inherit",
      }),
    );
    expect(await Promise.all(writers.map(async (it) => await it.exited))).toEqual([0, 0]);
    const store = place.open();
    expect(await store.receiptCount()).toBe(400);
    expect(await store.cursor("one")).toBe("200");
    expect(await store.cursor("two")).toBe("200");
  });

  test("is made once, and refused to nobody, when several processes open it for the first time", async () => {
    using folder = makeFolder();
    const program = join(import.meta.dir, "support", "sqlite-opener.ts");
    const openers = Array.from({ length: 4 }, () =>
      Bun.spawn([process.execPath, program, folder.path, "200"], {
        stdout: "ignore",
        stderr: "inherit",
      }),
    );
    expect(await Promise.all(openers.map(async (it) => await it.exited))).toEqual([0, 0, 0, 0]);
  });

  test("lives in memory when told so", async () => {
    const store = openSqliteStore("sqlite::memory:", { deadlineMs: 1_000 });
    await store.commit(await leaseOf(store), batchOf([1n], "1"));
    expect(await store.cursor("consumer")).toBe("1");
    await store.close();
  });

  test("refuses a URL that names no file, and a folder that is not there", () => {
    for (const url of [
      "sqlite:",
      "sqlite://host/file",
      "file.sqlite",
      "sqlite:/no/such/folder/file.sqlite",
    ]) {
      expect(() => openSqliteStore(url, { deadlineMs: 1_000 })).toThrow(
        expect.objectContaining({ code: "invalid_config" }),
      );
    }
  });

  test("refuses a file that is something else", () => {
    using folder = makeFolder();
    const path = join(folder.path, "letter.txt");
    writeFileSync(path, "Dear reader, ".repeat(1_000));
    expect(() => openSqliteStore(`sqlite:${path}`, { deadlineMs: 1_000 })).toThrow(
      expect.objectContaining({ code: "store_error" }),
    );
  });
});
