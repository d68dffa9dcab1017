//! What the proof of concept got wrong, each mistake in short and by its number. Many are tested at length elsewhere, under
//! the same name: subscription-faults.test.ts, notify.test.ts, elysia-plugin.test.ts, epochs.test.ts, test/system. Of 12, who
//! may do what is in privileges.test.ts, and purging in small indexed steps in retention.test.ts.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";

import type postgres from "postgres";

import { openClient } from "../../src/adapters/postgres/client.ts";
import { migrations } from "../../src/adapters/postgres/migrate/migrations.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { type Config, readConfig } from "../../src/config/config.ts";
import { decodeCursor } from "../../src/core/cursor-codec.ts";
import { hasCode } from "../../src/core/errors.ts";
import type { ConsumerStore } from "../../src/core/subscribe/store.ts";
import { silent } from "../../src/library/defaults.ts";
import { keepReceiptsShort } from "../../src/library/keep-receipts-short.ts";
import { openStore } from "../../src/library/open-store.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { verify } from "../../src/roles/verify.ts";
import { waitForDatabase } from "../../src/roles/wait-for-database.ts";
import { createLogDatabase, migrate, openTestClient, targetOf } from "../support/log-database.ts";
import { asUser, caught, connect, recordingLogger } from "../support/migrator.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { urlOfDatabase, withAdmin } from "../support/run-databases.ts";
import { openHands } from "../support/sessions.ts";
import { subscribe } from "../support/subscriber.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { makeTemporaryFolder } from "../support/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";

const tooLateMs = 600_000;

const configFor = (env: Readonly<Record<string, string>>): Config =>
  readConfig({ flags: new Map(), env, readFile: () => "" }).config;

const publish = async (sql: postgres.Sql, topic: string): Promise<bigint> => {
  const [row] = await sql<{ id: string }[]>`select pgstream.publish(${topic}, '{}') as id`;
  return BigInt(row?.id ?? 0);
};

test("mistake 1: a low id that commits late, far behind any look-back, is not lost", async () => {
  await using database = await createLogDatabase();
  const [sql, slow] = [connect(database.url), connect(database.url)];
  await using subscriber = subscribe({ database: database.url });
  await sql`insert into pgstream.topics (name) values ('t')`;
  await slow`begin`;
  const late = await publish(slow, "t");
  const others: bigint[] = [];
  for (let n = 0; n < 100; n += 1) others.push(await publish(sql, "t"));
  await waitFor(() => subscriber.ids.length === 100, { what: "the hundred that committed first" });
  await slow`commit`;
  await waitFor(() => subscriber.ids.length === 101, { what: "the one that committed last" });
  expect(subscriber.ids).toEqual([...others, late]);
  await Promise.all([sql.end(), slow.end()]);
});

test("mistake 2: a topic that fails is not passed over because another one got further", async () => {
  await using database = await createLogDatabase();
  const sql = connect(database.url);
  let isBroken = true;
  await using subscriber = subscribe({
    database: database.url,
    topics: ["good", "bad"],
    batchEventsMax: 1,
    handlerRetriesMax: 1_000,
    work: async (events) => {
      await Promise.resolve();
      if (isBroken && events.some(({ topic }) => topic === "bad")) throw new Error("broken");
    },
  });
  const ids = [
    await publish(sql, "good"),
    await publish(sql, "bad"),
    await publish(sql, "good"),
    await publish(sql, "good"),
  ];
  await waitFor(() => subscriber.subscription.status().state === "retrying", { what: "a failure" });
  expect(subscriber.ids).toEqual(ids.slice(0, 1));
  isBroken = false;
  await waitFor(() => subscriber.ids.length === 4, { what: "everything" });
  expect(subscriber.ids).toEqual(ids);
  await sql.end();
});

test("mistake 3: what commits after catching up and before listening does not wait for the next notification", async () => {
  await using database = await createLogDatabase();
  const sql = connect(database.url);
  const { hostname, port } = new URL(database.url);
  let isDeaf = true;
  await using proxy = await startTcpProxy({
    host: hostname,
    port: Number(port),
    onChunk: (chunk, direction) =>
      isDeaf && direction === "to-server" && chunk.includes("listen ") ? "reset" : "pass",
  });
  await using subscriber = subscribe({ database: proxy.through(database.url), pollIntervalMs: tooLateMs });
  await waitFor(() => subscriber.subscription.status().state === "live", { what: "it to have caught up" });
  const between = await publish(sql, "t");
  isDeaf = false;
  await waitFor(() => subscriber.ids.length === 1, { what: "the event, with no other hint to come" });
  expect(subscriber.ids).toEqual([between]);
  await sql.end();
});

test("mistake 4: a crash between handling and receipt repeats the event, and never loses it", async () => {
  await using database = await createLogDatabase();
  await using folder = await makeTemporaryFolder("pgstream-mistakes-");
  const sql = connect(database.url);
  const id = await publish(sql, "t");
  const store = await openStore(`sqlite:${join(folder.path, "store.sqlite")}`);
  const handled: bigint[] = [];
  const run = (it: ConsumerStore) =>
    openSubscription({
      database: database.url,
      topics: ["t"],
      store: it,
      subscription: "s",
      leaseTtlMs: 1_000,
      handlerRetriesMax: 0,
      handle: async (events) => {
        await Promise.resolve();
        handled.push(...events.map((event) => event.id));
      },
    });
  // The process is gone right after the handler, before anything of it was stored.
  const crashing = run({ ...store, commit: async () => await Promise.reject(new Error("gone")) });
  expect(hasCode(await caught(crashing.done), "handler_failed")).toBeTrue();
  expect(await store.receiptCount()).toBe(0);
  expect(await store.cursor("s")).toBeNull();

  await using again = run(store);
  await waitFor(async () => (await store.receiptCount()) === 1, { what: "the receipt" });
  expect(handled).toEqual([id, id]);
  await again.stop();
  await store.close();
  await sql.end();
});

test("mistake 5: as many receipts as events prove nothing: verify compares the sets", async () => {
  await using database = await createLogDatabase();
  await using folder = await makeTemporaryFolder("pgstream-mistakes-");
  const sql = connect(database.url);
  const ids = [await publish(sql, "courses"), await publish(sql, "courses"), await publish(sql, "courses")];
  const path = join(folder.path, "store.sqlite");
  const store = await openStore(`sqlite:${path}`);
  await using subscription = openSubscription({
    database: database.url,
    topics: ["courses"],
    store,
    subscription: "consumer",
    handle: async () => await Promise.resolve(),
  });
  await waitFor(async () => (await store.receiptCount()) === 3, { what: "three receipts" });
  await subscription.stop();
  await store.close();

  const lines: string[] = [];
  const compare = async (): Promise<number> =>
    await verify(configFor({ DATABASE_URL: database.url, STORE_URL: `sqlite:${path}` }), {
      version: "test",
      logger: silent,
      clock: makeClock(),
      signal: new AbortController().signal,
      print: (line) => void lines.push(line),
      show: () => {},
    });
  expect(await compare()).toBe(0);
  using receipts = new Database(path);
  receipts.run(`update receivedEvents set event_id = 999 where event_id = ${ids[1]}`);
  expect(await compare()).toBe(1);
  expect(lines).toContain(`missing: 1 (ids ${ids[1]})`);
  expect(lines).toContain("extra: 1 (ids 999)");
  await sql.end();
});

test("mistakes 6 and 12: handlers never overlap and keep the order, whatever anybody notifies", async () => {
  await using database = await createLogDatabase();
  await using hands = openHands(database.url);
  let busy = 0;
  let busyMost = 0;
  await using subscriber = subscribe({
    database: database.url,
    batchEventsMax: 3,
    work: async () => {
      busy += 1;
      busyMost = Math.max(busyMost, busy);
      // Any role may notify, on any channel and whatever it likes: here in the middle of the work.
      await hands.sql`select pg_notify('events', it) from unnest(array['', '{', '{"Id":', '99999999999999999999']) it`;
      busy -= 1;
    },
  });
  const ids: bigint[] = [];
  for (let n = 0; n < 30; n += 1) ids.push(await publish(hands.sql, `t.${n % 3}`));
  await waitFor(() => subscriber.ids.length >= ids.length, { what: "all of them" });
  expect(busyMost).toBe(1);
  expect(subscriber.ids).toEqual(ids);
});

test("mistake 7: stop stops behind the batch in hand, and what stopped by itself does not look healthy", async () => {
  await using database = await createLogDatabase();
  const sql = connect(database.url);
  const ids = [await publish(sql, "t"), await publish(sql, "t"), await publish(sql, "t")];
  const [entered, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using subscriber = subscribe({
    database: database.url,
    batchEventsMax: 1,
    work: async () => {
      entered.resolve();
      await finish.promise;
    },
  });
  await entered.promise;
  const stopped = subscriber.subscription.stop();
  finish.resolve();
  await stopped;
  expect(subscriber.ids).toEqual(ids.slice(0, 1));
  expect(subscriber.subscription.status().state).toBe("stopped");

  await sql`select pgstream.publish('busy', '{}') from generate_series(1, 500)`;
  const busy = openSubscription({
    database: database.url,
    topics: ["busy"],
    batchEventsMax: 1,
    cursor: async () => await Promise.resolve(null),
    // Nothing here ever waits, and yet a timer, a signal or a request gets its turn.
    handle: async () => await Promise.resolve(void setTimeout(() => void busy.stop())),
  });
  await busy.done;
  expect(busy.status().handledEvents).toBeLessThan(500);

  await using failing = subscribe({
    database: database.url,
    handlerRetriesMax: 0,
    work: async () => await Promise.reject(new Error("broken")),
  });
  expect(hasCode(await caught(failing.subscription.done), "handler_failed")).toBeTrue();
  expect(failing.subscription.status()).toMatchObject({ state: "failed", handledEvents: 0 });
  await sql.end();
});

test("mistake 8: reconnecting has no last attempt, and a connection that went silent is noticed", async () => {
  await using database = await createLogDatabase();
  const sql = connect(database.url);
  const { hostname, port } = new URL(database.url);
  await using proxy = await startTcpProxy({ host: hostname, port: Number(port) });
  const { logger, lines } = recordingLogger();
  await using subscriber = subscribe({ database: proxy.through(database.url), deadlineMs: 500, logger });
  const ids: bigint[] = [];
  const failures = (): number => lines.filter((line) => line.includes("reading failed")).length;
  for (const disturb of [proxy.cut, proxy.goSilent, proxy.cut]) {
    await waitFor(() => subscriber.subscription.status().state === "live", { what: "it to be live" });
    const before = failures();
    disturb();
    ids.push(await publish(sql, "t"));
    await waitFor(() => failures() >= before + 3, { what: "three attempts that fail" });
    expect(subscriber.subscription.status().state).toBe("retrying");
    proxy.heal();
    await waitFor(() => subscriber.ids.length === ids.length, { what: "what it missed" });
  }
  expect(subscriber.ids).toEqual(ids);
  await sql.end();
});

test("mistake 9: the event and its notification are one commit, and a lost notification costs a poll", async () => {
  await using database = await createLogDatabase();
  await using hands = openHands(database.url);
  await using patient = subscribe({ database: database.url, name: "patient", pollIntervalMs: tooLateMs });
  await using polling = subscribe({ database: database.url, name: "polling", wakeups: "poll" });
  await waitFor(async () => (await hands.sessions("tail listener")).length === 1, {
    what: "it to listen",
  });
  await waitFor(() => patient.subscription.status().state === "live", { what: "it to be idle" });
  const [row] = await hands.sql<{ id: string }[]>`select pgstream.publish('t', '{}') as id`;
  await waitFor(() => patient.ids.length === 1, { what: "the event, by the notification of its own commit" });
  expect(patient.ids).toEqual([BigInt(row?.id ?? 0)]);

  // As when its publisher dies between two commits.
  await hands.sql`select pgstream.publish('t', '{}', notify => false)`;
  await waitFor(() => polling.ids.length === 2, { what: "the event, by a poll" });
});

test("mistake 10: after the database was recreated, ids that begin again are not taken for old ones", async () => {
  await using database = await createLogDatabase();
  const first = connect(database.url);
  for (let n = 0; n < 3; n += 1) await publish(first, "t");
  const before = subscribe({ database: database.url });
  await waitFor(() => before.ids.length === 3, { what: "three events" });
  await before.subscription.stop();
  await first.end();

  await database.drop();
  await withAdmin(urlOfDatabase(database.url, "postgres"), async (sql) => {
    await sql`create database ${sql(database.name)} template template0`;
  });
  await migrate(database.url);
  const second = connect(database.url);
  expect(await publish(second, "t")).toBe(1n);
  await using after = subscribe({ database: database.url, since: before.cursor() });
  expect(hasCode(await caught(after.subscription.done), "unknown_epoch")).toBeTrue();
  const since = before.cursor();
  await using told = subscribe({ database: database.url, since, onEpochChange: "restart" });
  await waitFor(() => told.ids.length === 1, { what: "the new log's first event" });
  expect([...after.ids, ...told.ids]).toEqual([1n]);
  await second.end();
});

test("mistake 11: whoever is first waits: for its login, for the schema, for its rights", async () => {
  await using database = await createTestDatabase();
  const login = `${database.name}_login`;
  await using client = openClient(targetOf(asUser(database.url, login, "secret")), {
    name: "early",
    deadlineMs: 10_000,
  });
  const reasons: string[] = [];
  const { signal } = new AbortController();
  const context = { config: configFor({}), clock: makeClock(), logger: silent, signal };
  const ready = waitForDatabase({ client, as: "consumer" }, context, signal, (it) => void reasons.push(it));
  const said = async (what: string) => await waitFor(() => reasons.join().includes(what), { what });
  await said("waits for its login");
  await withAdmin(database.url, async (sql) => {
    await sql.unsafe(`create role ${login} login password 'secret'`);
    try {
      await said("waits for the database: not_migrated");
      await migrate(database.url);
      await said("waits for its rights: grant pgstream_consumer");
      await sql.unsafe(`grant usage on schema pgstream to ${login}`);
      await sql.unsafe(`grant select on pgstream.events to ${login}`);
      expect(await ready).toBeTrue();
    } finally {
      await client.end();
      await sql.unsafe(`drop owned by ${login}; drop role ${login}`);
    }
  });
});

test("mistake 12: ids hold 64 bits, beyond what JavaScript's numbers do", async () => {
  await using database = await createLogDatabase();
  const sql = connect(database.url);
  const first = 2n ** 53n;
  await sql.unsafe(
    `select pgstream.attach_segment(${first >> 32n}); select setval('pgstream.event_ids', ${first})`,
  );
  await using subscriber = subscribe({ database: database.url });
  const ids = [await publish(sql, "t"), await publish(sql, "t"), await publish(sql, "t")];
  expect(ids).toEqual([first + 1n, first + 2n, first + 3n]);
  await waitFor(() => subscriber.ids.length === 3, { what: "three events" });
  expect(subscriber.ids).toEqual(ids);
  expect(decodeCursor(subscriber.cursor() ?? "").window).toBeNull();
  await sql.end();
});

test("mistake 12: every moment is stored with its zone, and every id of an event in 64 bits", async () => {
  await using database = await createLogDatabase();
  const sql = connect(database.url);
  const moments = await sql<{ type: string }[]>`
    select distinct data_type as type from information_schema.columns
    where table_schema = 'pgstream' and (data_type like 'time%' or data_type = 'date' or column_name like '%\\_at')`;
  expect(moments.map(({ type }) => type)).toEqual(["timestamp with time zone"]);
  const ids = await sql<{ name: string; type: string }[]>`
    select table_name || '.' || column_name as name, data_type as type from information_schema.columns
    where table_schema = 'pgstream' and (column_name in ('first_id', 'last_id', 'event_id') or (table_name, column_name) = ('events', 'id'))`;
  expect(ids.map(({ name }) => name)).toContain("events.id");
  expect(ids.filter(({ type }) => type !== "bigint")).toEqual([]);
  await sql.end();
});

test("mistake 12: receipts go once they are older than every event that lives, or than configured", async () => {
  await using database = await createLogDatabase();
  await using client = openTestClient(database.url);
  const sql = connect(database.url);
  await sql`update pgstream.segments set opened_at = now() - interval '3 days' where opened_at is not null`;
  const ageAskedFor = async (ageMs: number | null): Promise<number> => {
    const asked = Promise.withResolvers<number>();
    const stopping = new AbortController();
    const store = {
      expireReceipts: async (age: number) => {
        asked.resolve(age);
        stopping.abort();
        return await Promise.resolve(0);
      },
    } as Partial<ConsumerStore> as ConsumerStore;
    await keepReceiptsShort({ store, client, clock: makeClock(), logger: silent, ageMs }, stopping.signal);
    return await asked.promise;
  };
  const dayMs = 86_400_000;
  const age = await ageAskedFor(null);
  expect(age).toBeGreaterThan(3 * dayMs);
  expect(age).toBeLessThan(3.5 * dayMs);
  expect(await ageAskedFor(dayMs)).toBe(dayMs);
  await sql.end();
});

test("mistake 12: no password, and no login, stands in a migration", () => {
  for (const { file, text } of migrations) {
    expect(text, file).not.toMatch(/password|\blogin\b/i);
  }
});
