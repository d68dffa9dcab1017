//! Publishing while everything between it and the database breaks: each event once, in order, and an honest word about it.
//!
//! An error that nobody caught fails the file: the test runner sees to that.

import { describe, expect, test } from "bun:test";

import type { Publisher } from "../../src/core/publish/publisher.ts";
import { openPublisher, type OpenPublisherOptions } from "../../src/library/publisher.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { migrate } from "../support/log-database.ts";
import { useLog } from "../support/log-of-file.ts";
import { startOwnServer } from "../support/postgres.ts";
import { makeRandom } from "../support/seed.ts";
import { type Hands, openHands } from "../support/sessions.ts";
import { startTcpProxy, type TcpProxy, type TcpProxyOptions } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";

const log = useLog();

/** Ids of a topic's events by their content, which the tests make unique; a repeated content is a repeated event. */
const stored = async (
  topic: string,
  on: Hands = log.hands,
): Promise<readonly (readonly [string, string])[]> => {
  const rows = await on.sql<{ id: string; data: string }[]>`
    select e.id::text as id, e.data::text as data
    from pgstream.events e join pgstream.topics t on t.id = e.topic_id where t.name = ${topic} order by e.id`;
  return rows.map(({ id, data }) => [data, id]);
};

const proxied = async (onChunk?: TcpProxyOptions["onChunk"]): Promise<TcpProxy> => {
  const { hostname, port } = new URL(log.url);
  return await startTcpProxy({
    host: hostname,
    port: Number(port),
    ...(onChunk === undefined ? {} : { onChunk }),
  });
};

const openOne = (name: string, options: Partial<OpenPublisherOptions> = {}): Publisher & AsyncDisposable =>
  openPublisher({ database: log.url, name, closeTimeoutMs: 2_000, ...options });

const isRepeating = (publisher: Publisher) => (): boolean => publisher.status().retrying !== null;

describe("a backend that is killed", () => {
  test("while idle costs nothing, as often as it happens", async () => {
    await using publisher = openOne("idle");
    const published: string[] = [];
    for (let n = 0; n < 10; n += 1) {
      published.push(String(await publisher.publish({ topic: "idle", data: n })));
      expect(await log.hands.terminate("idle")).toBeGreaterThan(0);
    }
    expect(await stored("idle")).toEqual(published.map((id, n) => [String(n), id]));
  });

  test("while its statement waits for a lock has published nothing, and the repeat publishes it once", async () => {
    await using publisher = openOne("waiting");
    const release = await log.hands.hold("insert into pgstream.topics (name) values ('waiting')");
    const publishing = publisher.publish({ topic: "waiting", data: "once" });
    const waits = async (): Promise<boolean> =>
      (await log.hands.sessions("waiting")).some((session) => session.waits === "Lock");
    for (let kills = 0; kills < 3; kills += 1) {
      await waitFor(waits, { what: "the statement to wait" });
      await log.hands.terminate("waiting");
    }
    await release();
    const id = await publishing;
    expect(await stored("waiting")).toEqual([['"once"', String(id)]]);
  });

  test("at random under load loses nothing, repeats nothing and keeps the order", async () => {
    const random = makeRandom("publisher kills");
    await using publisher = openOne("random", { batchEventsMax: 50 });
    const answers: Promise<bigint>[] = [];
    for (let kills = 0; kills < 25; kills += 1) {
      const goal = publisher.status().published + random.integer(0, 300);
      for (let n = 0; n < 200; n += 1)
        answers.push(publisher.publish({ topic: "random", data: answers.length }));
      await waitFor(() => publisher.status().published >= goal || publisher.status().waiting === 0, {
        what: "some of it to be published",
        pollIntervalMs: 1,
      });
      await log.hands.terminate("random");
    }
    const ids = await Promise.all(answers);
    expect(await stored("random")).toEqual(ids.map((id, n) => [String(n), String(id)]));
  }, 60_000);
});

describe("a connection that is lost", () => {
  test("after the commit and before the answer: the repeat gets the ids of the first time", async () => {
    let armed = true;
    await using proxy = await proxied((chunk, direction) => {
      if (!armed || direction !== "to-client" || !chunk.includes("SELECT 1")) return "pass";
      armed = false;
      return "reset";
    });
    await using publisher = openOne("answer", { database: proxy.through(log.url) });
    const ids = await publisher.publish([1, 2, 3].map((data) => ({ topic: "answer", data })));
    expect(armed).toBe(false);
    expect(await stored("answer")).toEqual(ids.map((id, n) => [String(n + 1), String(id)]));
  });

  test("before the statement has left, or while connecting, is tried again", async () => {
    let resets = 5;
    await using proxy = await proxied((_, direction) =>
      direction === "to-server" && (resets -= 1) >= 0 ? "reset" : "pass",
    );
    await using publisher = openOne("before", { database: proxy.through(log.url) });
    const id = await publisher.publish({ topic: "before", data: "once" });
    expect(resets).toBeLessThan(0);
    expect(await stored("before")).toEqual([['"once"', String(id)]]);
  });

  test("again and again, in the middle of whatever it does, loses nothing and repeats nothing", async () => {
    const random = makeRandom("publisher resets");
    await using proxy = await proxied(() => (random.chance(0.05) ? "reset" : "pass"));
    await using publisher = openOne("reset", { database: proxy.through(log.url) });
    const ids: bigint[] = [];
    for (let n = 0; n < 400; n += 4) {
      const four = [n, n + 1, n + 2, n + 3].map((data) => publisher.publish({ topic: "reset", data }));
      ids.push(...(await Promise.all(four)));
    }
    expect(proxy.acceptedConnections()).toBeGreaterThan(3);
    expect(await stored("reset")).toEqual(ids.map((id, n) => [String(n), String(id)]));
  }, 60_000);

  test("without a word is noticed by our own deadline, not by TCP a quarter of an hour later", async () => {
    await using proxy = await proxied();
    await using publisher = openOne("silent", { database: proxy.through(log.url), deadlineMs: 400 });
    await publisher.publish({ topic: "silent", data: 1 });
    proxy.goSilent();
    const publishing = publisher.publish({ topic: "silent", data: 2 });
    await waitFor(isRepeating(publisher), { what: "the deadline to pass" });
    proxy.heal();
    await publishing;
    expect((await stored("silent")).map(([data]) => data)).toEqual(["1", "2"]);
  });
});

describe("an unknown outcome", () => {
  test("the deadline passes while the server is still at it: the repeat waits for the first and gets its ids", async () => {
    await using publisher = openOne("slow", { deadlineMs: 400 });
    const release = await log.hands.hold("insert into pgstream.topics (name) values ('slow')");
    const publishing = publisher.publish([1, 2].map((data) => ({ topic: "slow", data })));
    const bothWait = async (): Promise<boolean> =>
      (await log.hands.sessions("slow")).filter((session) => session.waits === "Lock").length >= 2;
    await waitFor(bothWait, { what: "the repeat to wait behind the first" });
    await release();
    const ids = await publishing;
    expect(await stored("slow")).toEqual(ids.map((id, n) => [String(n + 1), String(id)]));
  });

  test("statements given up on do not pile up on the server, however long it keeps them waiting", async () => {
    await using publisher = openOne("piling", { deadlineMs: 200 });
    const release = await log.hands.hold("insert into pgstream.topics (name) values ('piling')");
    const publishing = publisher.publish({ topic: "piling", data: 1 });
    let most = 0;
    const pids = new Set<number>();
    await waitFor(
      async () => {
        const sessions = await log.hands.sessions("piling");
        most = Math.max(most, sessions.length);
        for (const { pid } of sessions) pids.add(pid);
        return pids.size >= 6;
      },
      { what: "six attempts", deadlineMs: 30_000 },
    );
    await release();
    await publishing;
    expect(most).toBeLessThanOrEqual(4);
    expect(await stored("piling")).toHaveLength(1);
  });

  test("is not passed off as a refusal when the repeat is refused, and what follows is not taken for the repeat", async () => {
    let armed = false;
    await using proxy = await proxied((chunk, direction) => {
      if (!armed || direction !== "to-client" || !chunk.includes("SELECT 1")) return "pass";
      proxy.cut();
      return "reset";
    });
    await using publisher = openOne("refused", { database: proxy.through(log.url) });
    armed = true;
    const publishing = publisher
      .publish({ topic: "refused", data: "committed" })
      .catch((error: unknown) => error);
    await waitFor(isRepeating(publisher), { what: "the answer to be lost" });
    await log.hands.sql`alter function pgstream.publish_batch rename to away`;
    armed = false;
    proxy.heal();
    expect(await publishing).toMatchObject({ code: "publish_unknown" });
    await log.hands.sql`alter function pgstream.away rename to publish_batch`;
    const id = await publisher.publish({ topic: "refused", data: "next" });
    expect(await stored("refused")).toEqual([
      ['"committed"', expect.any(String)],
      ['"next"', String(id)],
    ]);
  });

  test("close() in an outage ends in time and says that it cannot be known", async () => {
    await using proxy = await proxied();
    for (const outage of [proxy.cut, proxy.goSilent]) {
      const publisher = openOne("closing", { database: proxy.through(log.url), bufferEventsMax: 2 });
      await publisher.publish({ topic: "closing", data: "before" });
      outage();
      const calls = [1, 2, 3].map(
        async (data) => await publisher.publish({ topic: "closing", data }).catch((error: unknown) => error),
      );
      const startedAt = performance.now();
      await publisher.close(300);
      // The two seconds that a connection may have to end its statement are not on top of ours.
      expect(performance.now() - startedAt).toBeLessThan(2_000);
      const [first, second, third] = await Promise.all(calls);
      expect([first, second]).toMatchObject([{ code: "publish_unknown" }, { code: "publish_unknown" }]);
      // The third found no room, so it was never on its way.
      expect(third).toMatchObject({ code: "database_unavailable", retryable: false });
      proxy.heal();
    }
  }, 20_000);
});

test("close() before the database was ever reached says that nothing was published", async () => {
  const proxy = await proxied();
  const database = proxy.through(log.url);
  await proxy[Symbol.asyncDispose]();
  const publisher = openOne("nobody there", { database });
  const publishing = publisher.publish({ topic: "nobody", data: "there" }).catch((error: unknown) => error);
  await waitFor(isRepeating(publisher), { what: "the first attempt to be refused" });
  await publisher.close(0);
  expect(await publishing).toMatchObject({ code: "database_unavailable", retryable: false });
});

test("an outage longer than the buffer makes callers wait, and loses nothing", async () => {
  await using proxy = await proxied();
  await using publisher = openOne("full", {
    database: proxy.through(log.url),
    bufferEventsMax: 20,
    batchEventsMax: 10,
  });
  proxy.cut();
  // Ten lanes that publish one after the other, as applications do.
  const published: string[] = [];
  const lane = async (name: number): Promise<void> => {
    for (let n = 0; n < 20; n += 1) {
      const five = [0, 1, 2, 3, 4].map((at) => ({ topic: "full", data: `${name}/${n}/${at}` }));
      published.push(...(await publisher.publish(five)).map(String));
    }
  };
  const lanes = Promise.all([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(lane));
  await waitFor(isRepeating(publisher), { what: "the outage to be noticed" });
  // Each lane is held at its first call, with room for twenty events or without.
  expect(publisher.status()).toMatchObject({ waiting: 50, published: 0 });
  proxy.heal();
  await lanes;
  const rows = await stored("full");
  expect(rows.map(([, id]) => id).toSorted()).toEqual(published.toSorted());
  expect(new Set(rows.map(([data]) => data)).size).toBe(1_000);
  for (let name = 0; name < 10; name += 1) {
    const own = rows.map(([data]) => data).filter((data) => data.startsWith(`"${name}/`));
    expect(own).toEqual(Array.from({ length: 100 }, (_, n) => `"${name}/${Math.floor(n / 5)}/${n % 5}"`));
  }
});

describe("a database that is restarted ten times under load", () => {
  const stops = ["immediate", "fast"] as const;

  test("loses nothing, repeats nothing and keeps each publisher's order, for who publishes and for who reads", async () => {
    await using server = await startOwnServer();
    await migrate(server.url());
    await using onServer = openHands(server.url());
    const read: { id: bigint; data: unknown }[] = [];
    let cursor: string | null = null;
    await using subscription = openSubscription({
      database: server.url(),
      topics: [">"],
      batchEventsMax: 100,
      cursor: async () => await Promise.resolve(cursor),
      handle: async (events, context) => {
        for (const { id, data } of events) read.push({ id, data });
        cursor = context.cursor;
        await Promise.resolve();
      },
    });
    const publishers = [0, 1, 2, 3].map((p) =>
      openPublisher({ database: server.url(), name: `p${p}`, bufferEventsMax: 200, deadlineMs: 5_000 }),
    );
    const resolved = new Map<string, string>();
    const over = new AbortController();
    const load = publishers.map(async (publisher, p) => {
      for (let n = 0; !over.signal.aborted;) {
        const calls = Array.from({ length: 20 }, async () => {
          n += 1;
          const data = `${p}/${n}`;
          resolved.set(
            JSON.stringify(data),
            String(await publisher.publish({ topic: `restart.${p}`, data })),
          );
        });
        await Promise.all(calls);
      }
    });
    for (let restarts = 0; restarts < 10; restarts += 1) {
      const goal = resolved.size + 200;
      await waitFor(() => resolved.size >= goal, {
        what: "publishing to go on",
        deadlineMs: 30_000,
        pollIntervalMs: 5,
      });
      await server.restart(stops[restarts % 2] ?? "fast");
    }
    over.abort();
    await Promise.all(load);
    for (const publisher of publishers) await publisher.close(10_000);

    const rows: string[] = [];
    for (let p = 0; p < 4; p += 1) {
      const own = await waitFor(async () => await stored(`restart.${p}`, onServer), { what: "the server" });
      // In the order of ids: 1, 2, 3, ... each once, none missing, and each id the one that its caller was told.
      expect(own.map(([data]) => data)).toEqual(own.map((_, n) => `"${p}/${n + 1}"`));
      for (const [data, id] of own) expect(resolved.get(data)).toBe(id);
      rows.push(...own.map(([data]) => data));
    }
    expect(rows).toHaveLength(resolved.size);
    await waitFor(() => read.length >= resolved.size, { what: "the reader to catch up", deadlineMs: 30_000 });
    await subscription.stop();
    expect(read.map(({ data }) => JSON.stringify(data)).toSorted()).toEqual(rows.toSorted());
    for (let p = 0; p < 4; p += 1) {
      const own = read.filter(({ data }) => String(data).startsWith(`${p}/`));
      expect(own.map(({ data }) => data)).toEqual(own.map((_, n) => `${p}/${n + 1}`));
    }
  }, 120_000);
});
