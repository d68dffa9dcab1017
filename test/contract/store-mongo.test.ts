import { expect, test } from "bun:test";

import { MongoClient } from "mongodb";

import { openMongoStore } from "../../src/adapters/mongo/open-mongo-store.ts";
import type { Logger } from "../../src/core/ports.ts";
import type { ConsumerStore } from "../../src/core/subscribe/store.ts";
import { silent } from "../../src/library/defaults.ts";
import { describeWithMongo, type TestMongo } from "../support/mongo.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";
import { consumerStoreContract } from "./support/consumer-store-contract.ts";
import { batchOf, course, failureOf, leaseOf } from "./support/store-samples.ts";
import type { StorePlace } from "./support/store-under-test.ts";

const deadlineMs = 20_000;

const makePlace = (mongo: TestMongo): StorePlace & { readonly url: string } => {
  const database = mongo.createDatabase();
  const opened: ConsumerStore[] = [];
  return {
    url: database.url,
    open: () => {
      const store = openMongoStore(database.url, { deadlineMs, ca: null, logger: silent });
      opened.push(store);
      return store;
    },
    [Symbol.asyncDispose]: async () => {
      for (const store of opened) await store.close();
      await database.drop();
    },
  };
};

const openThrough = (
  url: string,
  options: { readonly deadlineMs?: number; readonly logger?: Logger } = {},
) => {
  const store = openMongoStore(url, { deadlineMs, ca: null, logger: silent, ...options });
  return { store, [Symbol.asyncDispose]: store.close };
};

/** Past a proxy the driver must not follow the addresses that a replica set tells it. */
const urlThrough = (proxy: TcpProxy, url: string): string => {
  const changed = new URL(proxy.through(url));
  changed.searchParams.set("directConnection", "true");
  return changed.href;
};

const portOf = (url: string): number => Number(new URL(url).port || "27017");

type OnRequest = (text: string) => "pass" | "reset" | "silence";

const proxyTo = async (mongo: TestMongo, onRequest: OnRequest = () => "pass") =>
  await startTcpProxy({
    host: new URL(mongo.url).hostname,
    port: portOf(mongo.url),
    onChunk: (chunk, direction) => (direction === "to-server" ? onRequest(chunk.toString("latin1")) : "pass"),
  });

/** Whether a request is this command on this collection. */
const isCommand = (text: string, command: string, collection: string): boolean =>
  text.includes(command) && text.includes(collection) && !text.includes("createIndexes");

await describeWithMongo("MongoDB", (mongo) => {
  consumerStoreContract("MongoDB", {
    makePlace: () => makePlace(mongo),
    lacksAtomicUpdates: mongo.source.startsWith("FerretDB")
      ? "FerretDB 1.24 reads a document, changes it and writes it whole, without a lock"
      : null,
  });

  const crashes = [
    ["before the effects", "insert", "courses"],
    ["between effects and receipts", "insert", "receivedEvents"],
    ["between receipts and cursor", "update", "subscriptions"],
  ] as const;
  for (const [when, command, collection] of crashes) {
    test(`repeats a commit that broke off ${when}, and is then as if it had not`, async () => {
      await using place = makePlace(mongo);
      const direct = place.open();
      await direct.prepare();
      const lease = await leaseOf(direct);
      await direct.commit(lease, batchOf([1n], "after 1"));
      let broken = 0;
      await using proxy = await proxyTo(mongo, (text) => {
        if (!isCommand(text, command, collection)) return "pass";
        broken += 1;
        return "reset";
      });
      await using through = openThrough(urlThrough(proxy, place.url));
      const failure = await failureOf(through.store.commit(lease, batchOf([1n, 2n], "after 2")));
      expect(failure).toMatchObject({ code: "store_unavailable", retryable: true });
      expect(broken).toBeGreaterThan(0);
      expect(await direct.cursor("consumer")).toBe("after 1");
      for (const id of await direct.receiptIds(["courses"], 0n, 10)) {
        expect(await direct.document("courses", `course-${id}`)).not.toBeNull();
      }

      await direct.commit(lease, batchOf([1n, 2n], "after 2"));
      expect(await direct.cursor("consumer")).toBe("after 2");
      expect(await direct.receiptIds(["courses"], 0n, 10)).toEqual([1n, 2n]);
      expect((await direct.documents("courses", null, 10)).documents).toHaveLength(2);
    });
  }

  const pausedAt = async (place: { readonly url: string }, command: string, collection: string) => {
    let isPaused = false;
    const proxy = await proxyTo(mongo, (text) => {
      if (isPaused || !isCommand(text, command, collection)) return "pass";
      isPaused = true;
      return "silence";
    });
    const through = openThrough(urlThrough(proxy, place.url));
    const paused = async () => await waitFor(() => isPaused, { what: `${command} of ${collection}` });
    const dispose = async () => {
      await through[Symbol.asyncDispose]();
      await proxy.close();
    };
    return { store: through.store, paused, goOn: proxy.heal, [Symbol.asyncDispose]: dispose };
  };

  test("does not move the cursor for a lease that is lost while the commit is under way", async () => {
    await using place = makePlace(mongo);
    const other = place.open();
    const lease = await leaseOf(other, "consumer", 0);
    await using slow = await pausedAt(place, "insert", "receivedEvents");
    const committing = failureOf(slow.store.commit(lease, batchOf([1n], "after 1")));
    await slow.paused();
    const next = await leaseOf(other);
    await other.commit(next, { writes: [], receipts: [], cursor: "the next one's" });
    slow.goOn();
    expect(await committing).toMatchObject({ code: "lease_lost" });
    expect(await other.cursor("consumer")).toBe("the next one's");
  });

  test("does not take the cursor back when a move that was given up arrives behind later ones", async () => {
    await using place = makePlace(mongo);
    const other = place.open();
    const lease = await leaseOf(other);
    await using slow = await pausedAt(place, "update", "subscriptions");
    const given = failureOf(slow.store.commit(lease, batchOf([1n], "after 1")));
    await slow.paused();
    for (const id of [1n, 2n, 3n]) await other.commit(lease, batchOf([id], `after ${id}`));
    slow.goOn();
    expect(await given).toMatchObject({ code: "lease_lost" });
    expect(await other.cursor("consumer")).toBe("after 3");
  });

  test("does not give way to an older version that is inserted while the commit is under way", async () => {
    await using place = makePlace(mongo);
    const other = place.open();
    const lease = await leaseOf(other);
    await using slow = await pausedAt(place, "insert", "courses");
    const batch = { writes: [course("x", 2n)], receipts: [], cursor: "after 2" };
    const committing = slow.store.commit(lease, batch);
    await slow.paused();
    await other.commit(lease, { writes: [course("x", 1n)], receipts: [], cursor: "after 1" });
    slow.goOn();
    await committing;
    expect(await other.document("courses", "x")).toMatchObject({ Version: "2" });
    expect(await other.cursor("consumer")).toBe("after 2");
  });

  test("gives up by its deadline on a server that accepts and never answers, and goes on when it does", async () => {
    await using place = makePlace(mongo);
    await using proxy = await proxyTo(mongo);
    await using through = openThrough(urlThrough(proxy, place.url), { deadlineMs: 300 });
    const { store } = through;
    const lease = await waitFor(async () => await leaseOf(store), { what: "the first lease" });
    proxy.goSilent();
    const since = performance.now();
    const failure = await failureOf(store.commit(lease, batchOf([1n], "after 1")));
    expect(failure).toMatchObject({ code: "store_unavailable", retryable: true });
    expect(performance.now() - since).toBeLessThan(2_000);
    proxy.heal();
    await waitFor(async () => await store.commit(lease, batchOf([1n], "after 1")).then(() => true), {
      what: "the store to recover",
    });
    expect(await store.cursor("consumer")).toBe("after 1");
  });

  test("opens without a server, and works as soon as there is one", async () => {
    await using place = makePlace(mongo);
    await using proxy = await proxyTo(mongo);
    proxy.cut();
    await using through = openThrough(urlThrough(proxy, place.url), { deadlineMs: 500 });
    const { store } = through;
    expect(await failureOf(store.prepare())).toMatchObject({ code: "store_unavailable", retryable: true });
    proxy.heal();
    await waitFor(async () => await store.prepare().then(() => true), { what: "the server to be found" });
    expect(await store.receiptCount()).toBe(0);
  });

  test("says once what the server lacks", async () => {
    await using place = makePlace(mongo);
    const warnings: unknown[] = [];
    const logger = { ...silent, warn: (...said: unknown[]) => void warnings.push(said) };
    await using opened = openThrough(place.url, { logger });
    await opened.store.prepare();
    await opened.store.commit(await leaseOf(opened.store), batchOf([1n], "1"));
    await using client = new MongoClient(mongo.url);
    const hello = await client.db("admin").command({ hello: 1 });
    expect(warnings).toHaveLength(typeof hello["setName"] === "string" ? 0 : 1);
  });

  test("keeps 64-bit ids as integers, under the names its users know", async () => {
    await using place = makePlace(mongo);
    const store = place.open();
    const id = 2n ** 53n + 1n;
    await store.commit(await leaseOf(store), batchOf([id], "1"));
    await using client = new MongoClient(place.url, { useBigInt64: true });
    const database = client.db(new URL(place.url).pathname.slice(1));
    const stored = await database
      .collection<{ _id: bigint; receivedAt: unknown }>("receivedEvents")
      .findOne();
    expect(stored).toMatchObject({ _id: id, topic: "courses", type: "CourseCreated" });
    expect(stored?.receivedAt).toBeInstanceOf(Date);
    expect(await database.collection<{ _id: string }>("courses").findOne()).toMatchObject({
      _id: `course-${id}`,
      eventId: id,
    });
  });
});

test("a MongoDB URL that is wrong is refused without showing its password", () => {
  const wrong = [
    "mongodb://user:s3cr3t:s3cr3t@s3cr3t@host:27017/consumer",
    "mongodb://user:s3cr3t%s3cr3t@host:27017/consumer",
    "mongodb://user:s3cr3t/s3cr3t@host:port/consumer",
    "mongodb://user:s3cr3t@host:27017/consumer?nonsense=1",
    "mongodb://user:s3cr3t@/consumer",
    "mongo://user:s3cr3t@host/consumer",
  ];
  for (const url of wrong) {
    let failure: unknown;
    try {
      openMongoStore(url, { deadlineMs, ca: null, logger: silent });
    } catch (error) {
      failure = error;
    }
    expect(failure).toMatchObject({ code: "invalid_config" });
    expect(Bun.inspect(failure)).not.toContain("s3cr3t");
  }
});
