//! Consuming while everything breaks: each event is handled, in order, and whatever stops says so.
//!
//! Tests named "mistake n" are about the mistakes of the proof of concept that this project goes back to.

import { describe, expect, test } from "bun:test";

import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { hasCode, PgstreamError } from "../../src/core/errors.ts";
import { openStore } from "../../src/library/open-store.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { migrate } from "../support/log-database.ts";
import { useLog } from "../support/log-of-file.ts";
import { startOwnServer } from "../support/postgres.ts";
import { makeRandom } from "../support/seed.ts";
import { subscribe } from "../support/subscriber.ts";
import { startTcpProxy, type TcpProxy, type TcpProxyOptions } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";

const log = useLog();

/** Their ids. */
const publish = async (topic: string, count: number, url = log.url): Promise<readonly bigint[]> => {
  await using publisher = openPublisher({ database: url, name: "setup" });
  return await publisher.publish(Array.from({ length: count }, (_, n) => ({ topic, data: n })));
};

const proxied = async (onChunk?: TcpProxyOptions["onChunk"]): Promise<TcpProxy> => {
  const { hostname, port } = new URL(log.url);
  return await startTcpProxy({
    host: hostname,
    port: Number(port),
    ...(onChunk === undefined ? {} : { onChunk }),
  });
};

const tooLateMs = 600_000;
const quickly = makeClock();

describe("a lost connection", () => {
  test("to a database that is stopped and started again: it goes on where it was", async () => {
    await using server = await startOwnServer();
    await migrate(server.url());
    await using subscriber = subscribe({ database: server.url(), batchEventsMax: 10 });
    const { subscription, ids } = subscriber;
    const published = [...(await publish("stopped", 35, server.url()))];
    for (const mode of ["fast", "immediate", "fast"] as const) {
      await waitFor(() => ids.length === published.length, { what: "it to be up to date" });
      await server.stop(mode);
      await waitFor(() => subscription.status().state === "retrying", { what: "the outage to be visible" });
      expect(subscription.status().reason).not.toBeNull();
      await server.start();
      published.push(...(await publish("stopped", 35, server.url())));
    }
    await waitFor(() => ids.length >= published.length, { what: "it to catch up", deadlineMs: 20_000 });
    await waitFor(() => subscription.status().state === "live", { what: "it to be live" });
    expect(ids).toEqual(published);
  }, 60_000);

  test("at random moments of a long catch-up, between pages and within them", async () => {
    const random = makeRandom("reader kills");
    const published = await publish("catch-up", 20_000);
    let goal = 0;
    const killing: Promise<number>[] = [];
    await using subscriber = subscribe({
      database: log.url,
      name: "catch-up",
      topics: ["catch-up"],
      pageEventsMax: 150,
      batchEventsMax: 70,
      // Not waited for: it hits whatever the reader has come to by then.
      work: async () => {
        await Promise.resolve();
        if (ids.length < goal) return;
        goal = ids.length + random.integer(1, 1_000);
        killing.push(log.hands.terminate("catch-up"));
      },
    });
    const { ids } = subscriber;
    await waitFor(() => ids.length >= published.length, { what: "it to catch up", deadlineMs: 50_000 });
    const kills = (await Promise.all(killing)).reduce((sum, it) => sum + it, 0);
    expect(kills).toBeGreaterThan(10);
    expect(ids).toEqual(published);
  }, 60_000);

  test("mistake 8: a reconnect is tried for as long as it takes, and costs no more the hundredth time", async () => {
    let refusals = 0;
    let isAway = false;
    await using proxy = await proxied((_, direction) => {
      if (!isAway || direction === "to-client") return "pass";
      refusals += 1;
      return "reset";
    });
    await using subscriber = subscribe({
      database: proxy.through(log.url),
      topics: ["refused"],
      // Now and then one of the attempts hangs in the driver; then the deadline is what ends it.
      deadlineMs: 2_000,
      // Impatient, so that a hundred attempts take a moment.
      clock: {
        now: () => performance.now(),
        sleep: async (ms, signal) => await quickly.sleep(ms / 500, signal),
      },
    });
    const first = await publish("refused", 3);
    await waitFor(() => subscriber.ids.length === 3, { what: "the first events" });
    isAway = true;
    proxy.reset();
    await waitFor(() => refusals >= 200, { what: "two hundred attempts", deadlineMs: 30_000 });
    const second = await publish("refused", 3);
    isAway = false;
    await waitFor(() => subscriber.ids.length === 6, { what: "it to be back" });
    expect(subscriber.ids).toEqual([...first, ...second]);
  }, 60_000);

  test("mistake 8: a half-open connection is noticed by our deadline, and what was missed is fetched", async () => {
    await using proxy = await proxied();
    await using subscriber = subscribe({
      database: proxy.through(log.url),
      topics: ["half-open"],
      deadlineMs: 500,
    });
    const first = await publish("half-open", 3);
    await waitFor(() => subscriber.ids.length === 3, { what: "the first events" });
    proxy.goSilent();
    const second = await publish("half-open", 3);
    await waitFor(() => subscriber.subscription.status().state === "retrying", { what: "it to notice" });
    proxy.heal();
    await waitFor(() => subscriber.ids.length === 6, { what: "it to be back" });
    expect(subscriber.ids).toEqual([...first, ...second]);
  });

  test("mistake 3: what commits between catching up and listening is not left waiting for the next hint", async () => {
    let isDeaf = true;
    await using proxy = await proxied((chunk, direction) =>
      isDeaf && direction === "to-server" && chunk.includes("listen ") ? "reset" : "pass",
    );
    await using subscriber = subscribe({
      database: proxy.through(log.url),
      topics: ["between"],
      pollIntervalMs: tooLateMs,
    });
    await waitFor(() => subscriber.subscription.status().state === "live", { what: "it to have caught up" });
    // It has caught up and does not listen yet: its hint goes by unheard.
    const published = await publish("between", 3);
    isDeaf = false;
    await waitFor(() => subscriber.ids.length === 3, { what: "the events, without any other hint" });
    expect(subscriber.ids).toEqual(published);
  });
});

describe("stopping", () => {
  test("mistake 7: the batch in hand finishes, nothing else starts", async () => {
    const published = await publish("stopping", 30);
    const entered = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    let isTold = false;
    await using subscriber = subscribe({
      database: log.url,
      topics: ["stopping"],
      batchEventsMax: 10,
      work: async (_, signal) => {
        entered.resolve();
        await finish.promise;
        isTold = signal.aborted;
      },
    });
    await entered.promise;
    const stopped = subscriber.subscription.stop();
    finish.resolve();
    await stopped;
    await subscriber.subscription.done;
    expect(isTold).toBe(true);
    expect(subscriber.ids).toEqual(published.slice(0, 10));
    expect(subscriber.subscription.status()).toMatchObject({ state: "stopped", handledEvents: 10 });

    // Whoever goes on from its cursor gets the rest, and nothing twice.
    await using next = subscribe({
      database: log.url,
      topics: ["stopping"],
      since: subscriber.cursor(),
    });
    await waitFor(() => next.ids.length >= 20, { what: "the rest" });
    expect(next.ids).toEqual(published.slice(10));
  });

  test("mistake 7: at any moment, between any two statements, is a stop and no failure", async () => {
    await publish("any-moment", 200);
    for (let n = 0; n < 60; n += 1) {
      const { subscription } = subscribe({
        database: log.url,
        name: "any moment",
        topics: ["any-moment"],
        pageEventsMax: 20,
      });
      await quickly.sleep(n / 4);
      await subscription.stop();
      await subscription.done;
      expect(subscription.status()).toMatchObject({ state: "stopped", reason: null });
    }
    await waitFor(async () => (await log.hands.sessions("any moment")).length === 0, {
      what: "their sessions to end",
    });
  });

  test("mistake 7: takes no longer because the network is silent, and leaves no session behind", async () => {
    let isArmed = false;
    const silent = Promise.withResolvers<void>();
    await using proxy = await proxied((_, direction) => {
      if (!isArmed || direction === "to-client") return "pass";
      silent.resolve();
      return "silence";
    });
    const { subscription } = subscribe({
      database: proxy.through(log.url),
      name: "silent stop",
      topics: ["silent-stop"],
    });
    await waitFor(() => subscription.status().state === "live", { what: "it to run" });
    isArmed = true;
    // A poll is on its way, and will never be answered.
    await silent.promise;
    const startedAt = performance.now();
    await subscription.stop();
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await subscription.done;
    expect(subscription.status().state).toBe("stopped");
    proxy.reset();
    await waitFor(async () => (await log.hands.sessions("silent stop")).length === 0, {
      what: "its sessions to end",
    });
  }, 60_000);
});

describe("a handler", () => {
  test("mistake 6: is never called twice at once, however many hints arrive, and gets everything in order", async () => {
    let busy = 0;
    let most = 0;
    await using subscriber = subscribe({
      database: log.url,
      topics: ["overlap"],
      batchEventsMax: 7,
      work: async () => {
        busy += 1;
        most = Math.max(most, busy);
        await log.hands.sql`select pg_notify('events', 'during the work')`;
        busy -= 1;
      },
    });
    const published: bigint[] = [];
    for (let n = 0; n < 20; n += 1) published.push(...(await publish("overlap", 20)));
    await waitFor(() => subscriber.ids.length >= published.length, { what: "all of it" });
    expect(most).toBe(1);
    expect(subscriber.ids).toEqual(published);
  });

  test("that fails now and then gets the same batch again, and nothing is skipped", async () => {
    const published = await publish("flaky", 100);
    const calls: bigint[] = [];
    await using subscriber = subscribe({
      database: log.url,
      topics: ["flaky"],
      batchEventsMax: 25,
      handlerRetriesMax: 3,
      work: async ([first]) => {
        calls.push(first?.id ?? 0n);
        await Promise.resolve();
        if (calls.length % 4 !== 0) throw new Error("not now");
      },
    });
    await waitFor(() => subscriber.ids.length >= 100, { what: "all of it" });
    expect(subscriber.ids).toEqual(published);
    expect(calls).toEqual(
      [0, 25, 50, 75].flatMap((at) => Array.from({ length: 4 }, () => published[at] ?? 0n)),
    );
  });

  test("that keeps failing stops the subscription for all to see, in front of what it failed on", async () => {
    const published = await publish("poison", 30);
    const options = { database: log.url, topics: ["poison"], batchEventsMax: 10 };
    let attempts = 0;
    const subscriber = subscribe({
      ...options,
      work: async (events) => {
        await Promise.resolve();
        if (events.some((event) => event.json === "15") && (attempts += 1) > 0) throw new Error("cannot");
      },
    });
    const failure: unknown = await subscriber.subscription.done.catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "handler_failed", retryable: false });
    // Five times more, where nothing else is said.
    expect(attempts).toBe(6);
    expect(subscriber.ids).toEqual(published.slice(0, 10));
    const status = subscriber.subscription.status();
    expect(status.state).toBe("failed");
    expect(status.reason).toContain(String(published[10]));
    await subscriber.subscription.stop();
    expect(subscriber.subscription.status().state).toBe("failed");

    await using mended = subscribe({ ...options, since: subscriber.cursor() });
    await waitFor(() => mended.ids.length >= 20, { what: "the rest" });
    expect(mended.ids).toEqual(published.slice(10));
  });

  test("whose own store is away is waited for, for as long as it takes", async () => {
    const published = await publish("store-away", 5);
    let attempts = 0;
    await using subscriber = subscribe({
      database: log.url,
      topics: ["store-away"],
      handlerRetriesMax: 0,
      work: async () => {
        await Promise.resolve();
        attempts += 1;
        if (attempts < 6) throw new PgstreamError("store_unavailable", "away", { retryable: true });
      },
    });
    await waitFor(() => subscriber.ids.length === 5, { what: "the store to be back" });
    expect(subscriber.ids).toEqual(published);
  });

  test("of several topics that fails on one loses nothing of the others, nor of the one", async () => {
    await using publisher = openPublisher({ database: log.url, name: "several" });
    const mixed = Array.from({ length: 60 }, (_, n) => ({ topic: `several.${n % 3}`, data: n }));
    const published = await publisher.publish(mixed);
    const options = {
      database: log.url,
      topics: ["several.*"],
      batchEventsMax: 10,
      handlerRetriesMax: 1,
    };
    let isBroken = true;
    const failing = subscribe({
      ...options,
      work: async (events) => {
        await Promise.resolve();
        if (isBroken && events.some(({ topic, json }) => topic === "several.1" && Number(json) > 20))
          throw new Error("several.1 is broken");
      },
    });
    expect(hasCode(await failing.subscription.done.catch((error: unknown) => error), "handler_failed")).toBe(
      true,
    );
    // Meanwhile the other topics get much further.
    const later = await publisher.publish(mixed.map(({ data }) => ({ topic: "several.0", data })));
    isBroken = false;
    await using mended = subscribe({ ...options, since: failing.cursor() });
    await waitFor(() => failing.ids.length + mended.ids.length >= 120, { what: "all of it" });
    expect([...failing.ids, ...mended.ids]).toEqual([...published, ...later]);
  });
});

test("mistake 12: with a store, receipts older than they are to be kept go, without anybody asking for it", async () => {
  const published = await publish("kept.short", 20);
  const store = await openStore("sqlite::memory:");
  const options = { database: log.url, topics: ["kept.short"], store, handle: async () => {} };
  await using first = openSubscription({ ...options, subscription: "first" });
  await waitFor(async () => (await store.receiptCount()) === published.length, { what: "all receipts" });
  await first.stop();
  await using second = openSubscription({ ...options, subscription: "first", receiptsAgeMs: 1 });
  await waitFor(async () => (await store.receiptCount()) === 0, { what: "receipts to go" });
  await second.stop();
  await store.close();
});

test("with a store, a process that goes down in the middle of a batch repeats that batch and no other", async () => {
  const published = await publish("stored", 60);
  await using store = { ...(await openStore("sqlite::memory:")), [Symbol.asyncDispose]: async () => {} };
  const seen: bigint[] = [];
  const run = (failAfter: number) =>
    openSubscription({
      database: log.url,
      topics: ["stored"],
      batchEventsMax: 10,
      handlerRetriesMax: 0,
      store,
      subscription: "stored",
      leaseTtlMs: 1_000,
      handle: async (events) => {
        seen.push(...events.map((event) => event.id));
        await Promise.resolve();
        if (seen.length > failAfter)
          throw new Error("down, with the effect done and the cursor not yet moved");
      },
    });
  const first = run(25);
  expect(await first.done.catch((error: unknown) => error)).toMatchObject({ code: "handler_failed" });
  await using second = run(Infinity);
  await waitFor(async () => (await store.receiptCount()) >= 60, { what: "all receipts" });
  await second.stop();
  expect(seen).toEqual([...published.slice(0, 30), ...published.slice(20)]);
  expect(await store.receiptIds(["stored"], 0n, 100)).toEqual(published);
  await store.close();
});
