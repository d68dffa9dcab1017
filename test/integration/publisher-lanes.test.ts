//! Several connections of one publisher, on a real log: each key keeps its order while backends are killed, a bad event
//! among hundreds fails alone, and the hint comes after the commit.

import { describe, expect, test } from "bun:test";

import postgres from "postgres";

import { type EventDraft, RawJson } from "../../src/core/event.ts";
import type { Publisher } from "../../src/core/publish/publisher.ts";
import { silent } from "../../src/library/defaults.ts";
import { openPublisher, type OpenPublisherOptions } from "../../src/library/publisher.ts";
import { useLog } from "../support/log-of-file.ts";
import { asUser } from "../support/migrator.ts";
import { makeRandom } from "../support/seed.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";

const log = useLog();

const open = (name: string, options: Partial<OpenPublisherOptions> = {}): Publisher & AsyncDisposable =>
  openPublisher({ database: log.url, name, ...options });

interface StoredEvent {
  readonly id: string;
  readonly xid: string;
  readonly key: string | null;
  readonly data: string;
}

/** In the order of delivery. */
const stored = async (topic: string): Promise<readonly StoredEvent[]> =>
  await log.hands.sql<StoredEvent[]>`
    select e.id::text as id, e.xid::text as xid, e.key, e.data::text as data
    from pgstream.events e join pgstream.topics t on t.id = e.topic_id where t.name = ${topic} order by e.id`;

/** Each lane that has published anything left a row. */
const lanesSoFar = async (): Promise<number> =>
  (await log.hands.sql<{ count: number }[]>`select count(*)::integer as count from pgstream.publishers`)[0]
    ?.count ?? 0;

describe("connections", () => {
  test("are as many as told once there is work for them, and their number is checked", async () => {
    await using publisher = open("three", { connections: 3, furtherLaneEventsMin: 10 });
    await publisher.publish({ topic: "three", data: 0 });
    expect(await log.hands.sessions("three")).toHaveLength(1);
    await Promise.all(
      Array.from({ length: 60 }, async (_, n) => await publisher.publish({ topic: `three.${n}`, data: n })),
    );
    expect(await log.hands.sessions("three")).toHaveLength(3);
    for (const connections of [0, 17, 1.5, Number.NaN]) {
      expect(() => open("wrong", { connections })).toThrow(
        expect.objectContaining({ code: "invalid_config" }) as Error,
      );
    }
  });

  test("that are killed at random keep each key in order, and lose and repeat nothing", async () => {
    const random = makeRandom("lanes killed");
    await using publisher = open("killed", { connections: 3, batchEventsMax: 40, furtherLaneEventsMin: 5 });
    const answers: Promise<readonly bigint[]>[] = [];
    const calls: EventDraft[][] = [];
    const call = (): void => {
      const drafts = Array.from({ length: random.chance(0.8) ? 1 : random.integer(2, 9) }, (_, at) => ({
        topic: "killed",
        key: `k${random.integer(0, 30)}`,
        data: `${calls.length}.${at}`,
      }));
      calls.push(drafts);
      answers.push(publisher.publish(drafts));
    };
    const lanesBefore = await lanesSoFar();
    for (let kills = 0; kills < 25; kills += 1) {
      for (let n = 0; n < 150; n += 1) call();
      const goal = publisher.status().published + random.integer(0, 200);
      await waitFor(() => publisher.status().published >= goal || publisher.status().waiting === 0, {
        what: "some of it to be published",
        pollIntervalMs: 1,
      });
      await log.hands.terminate("killed");
    }
    const ids = await Promise.all(answers);
    const rows = await stored("killed");
    expect((await lanesSoFar()) - lanesBefore).toBeGreaterThan(1);
    // Each once, and each under the ids that its caller was told.
    const idOf = new Map(rows.map(({ id, data }) => [data, id]));
    expect(rows).toHaveLength(calls.flat().length);
    for (const [at, drafts] of calls.entries()) {
      expect(drafts.map(({ data }) => idOf.get(JSON.stringify(data)))).toEqual(ids[at]?.map(String) ?? []);
    }
    for (const [key, events] of Map.groupBy(rows, (row) => row.key)) {
      const called = calls.flat().filter((draft) => draft.key === key);
      expect(events.map(({ data }) => data)).toEqual(called.map(({ data }) => JSON.stringify(data)));
      // Later ids in later transactions: none of them became visible before one that was called earlier.
      const xids = events.map(({ xid }) => BigInt(xid));
      expect(xids.every((xid, at) => at === 0 || xid >= (xids[at - 1] ?? xid))).toBe(true);
    }
  }, 60_000);

  test("carry what has nothing to do with a batch that waits for a lock, however much waits behind it", async () => {
    await using publisher = open("crowd");
    await publisher.publish([
      { topic: "crowd", data: "first" },
      { topic: "beside", data: "first" },
    ]);
    const release = await log.hands.hold("select pgstream.publish('crowd', '0', idempotency_key => 'held')");
    const crowd = [publisher.publish({ topic: "crowd", data: 0, idempotencyKey: "held" })];
    await waitFor(async () => (await log.hands.sessions("crowd")).some(({ waits }) => waits === "Lock"), {
      what: "the batch to wait for the lock",
    });
    for (let n = 1; n <= 1_100; n += 1) crowd.push(publisher.publish({ topic: "crowd", data: n }));
    await publisher.publish({ topic: "beside", data: "second" });
    expect(publisher.status().waiting).toBe(1_101);
    await release();
    const ids = await Promise.all(crowd);
    expect(ids).toEqual(ids.toSorted((a, b) => Number(a - b)));
  });

  test("of one keep the order of all calls, whatever their keys and topics", async () => {
    await using publisher = open("one", { connections: 1, batchEventsMax: 7 });
    const ids = await Promise.all(
      Array.from({ length: 500 }, async (_, n) => {
        return await publisher.publish({ topic: `one.${n % 5}`, key: `k${n % 3}`, data: n });
      }),
    );
    expect(ids).toEqual(ids.toSorted((a, b) => Number(a - b)));
  });
});

describe("one bad event among 500 single calls fails alone:", () => {
  const tooDeep = "[".repeat(100_000) + "]".repeat(100_000);
  const bad: Readonly<Record<string, readonly [code: string, draft: Partial<EventDraft>]>> = {
    "JSON that the server refuses": ["invalid_event", { data: new RawJson(tooDeep) }],
    "an idempotency key used with other content": ["idempotency_conflict", { idempotencyKey: "taken" }],
    "an event too large for the server": ["event_too_large", { data: "x".repeat(1_100_000) }],
  };
  test.each(Object.entries(bad))("%s", async (what, [code, draft]) => {
    const topic = `alone.${what.length}`;
    await using publisher = open("alone", { eventBytesMax: 2_000_000 });
    await publisher.publish({ topic, data: "first", idempotencyKey: "taken" });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 500 }, async (_, n) => {
        const good = { topic, key: `k${n % 100}`, data: n };
        return await publisher.publish(n === 321 ? { ...good, ...draft } : good);
      }),
    );
    const refused = outcomes.flatMap((it, n) =>
      it.status === "rejected" ? [[n, it.reason as unknown]] : [],
    );
    expect(refused).toEqual([[321, expect.objectContaining({ code })]]);
    const idOf = new Map((await stored(topic)).map(({ id, data }) => [data, id]));
    for (const [n, outcome] of outcomes.entries()) {
      if (outcome.status === "fulfilled") expect(idOf.get(String(n))).toBe(String(outcome.value));
    }
    expect(idOf.size).toBe(500);
  });
});

describe("the hint", () => {
  /** What is committed by the time that a hint is heard, by hint. */
  const listen = async (topic: string): Promise<{ heard: Promise<number>[] } & AsyncDisposable> => {
    const sql = postgres(log.url, { max: 1, onnotice: () => {} });
    const heard: Promise<number>[] = [];
    const look = async (): Promise<number> => (await stored(topic)).length;
    await sql.listen("events", (payload) => {
      if (payload.split(",").includes(topic)) heard.push(look());
    });
    return { heard, [Symbol.asyncDispose]: async () => await sql.end({ timeout: 1 }) };
  };

  /** The same, of a publisher whose first event and its hint are past: nothing of them can arrive later on. */
  const listenFromSecond = async (publisher: Publisher, topic: string) => {
    const listening = await listen(topic);
    await publisher.publish({ topic, data: 0 });
    await waitFor(() => listening.heard.length === 1, { what: "the first hint" });
    listening.heard.length = 0;
    return listening;
  };

  test("is heard after the commit: the events are there, each time", async () => {
    await using publisher = open("heard");
    await using listening = await listenFromSecond(publisher, "heard");
    for (let n = 1; n <= 50; n += 1) {
      const before = listening.heard.length;
      await publisher.publish([1, 2].map((at) => ({ topic: "heard", key: `k${n}`, data: `${n}.${at}` })));
      await waitFor(() => listening.heard.length > before, { what: "the hint" });
      expect(await listening.heard.at(-1)).toBe(1 + 2 * n);
    }
    expect(listening.heard).toHaveLength(50);
  });

  test("is never heard before the commit: while the events wait for a lock, it waits behind them", async () => {
    await using publisher = open("waiting");
    await using listening = await listenFromSecond(publisher, "waiting");
    await using markers = await listen("marker");
    const release = await log.hands.hold("lock table pgstream.publishers in exclusive mode");
    const publishing = publisher.publish({ topic: "waiting", data: 1 });
    await waitFor(async () => (await log.hands.sessions("waiting")).some(({ waits }) => waits === "Lock"), {
      what: "the statement to wait",
    });
    // Notifications arrive in the order of their commits.
    await log.hands.sql`select pg_notify('events', 'marker')`;
    await waitFor(() => markers.heard.length > 0, { what: "the marker" });
    expect(listening.heard).toEqual([]);
    await release();
    await publishing;
    await waitFor(() => listening.heard.length > 0, { what: "the hint" });
    expect(await listening.heard[0]).toBe(2);
  });

  test("is sent with the events and not after their answer: it is heard though the answer does not come", async () => {
    let armed = false;
    let sent = false;
    const { hostname, port } = new URL(log.url);
    await using proxy = await startTcpProxy({
      host: hostname,
      port: Number(port),
      // A late answer to what came before passes: only what comes after the second event is held.
      onChunk: (chunk, direction) => {
        if (direction === "to-server") sent ||= armed && chunk.includes("early");
        return sent && direction === "to-client" ? "silence" : "pass";
      },
    });
    await using publisher = open("early", { database: proxy.through(log.url) });
    await using listening = await listenFromSecond(publisher, "early");
    armed = true;
    const publishing = publisher.publish({ topic: "early", data: 1 });
    await waitFor(() => listening.heard.length > 0, { what: "the hint" });
    expect(await listening.heard[0]).toBe(2);
    expect(publisher.status()).toMatchObject({ waiting: 1, published: 1 });
    armed = sent = false;
    proxy.heal();
    await publishing;
  });

  test("that fails neither fails nor delays a publish", async () => {
    const sql = log.hands.sql;
    const login = `${log.name}_mute`;
    await sql.unsafe(`
      create role ${login} login password 'secret';
      grant usage on schema pgstream to ${login};
      grant execute on all functions in schema pgstream to ${login};
      revoke execute on function pg_notify from public`);
    const database = asUser(log.url, login, "secret");
    await using publisher = openPublisher({ database, name: "hintless", logger: silent });
    await using listening = await listen("hintless");
    try {
      for (let n = 0; n < 20; n += 1) await publisher.publish({ topic: "hintless", data: n });
    } finally {
      await publisher.close(5_000);
      await sql.unsafe(`
        grant execute on function pg_notify to public;
        drop owned by ${login};
        drop role ${login}`);
    }
    expect(publisher.status()).toMatchObject({ retrying: null, published: 20 });
    expect(await stored("hintless")).toHaveLength(20);
    expect(listening.heard).toEqual([]);
  });
});
