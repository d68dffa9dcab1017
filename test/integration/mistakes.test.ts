//! What the proof of concept got wrong, by number. The others are tests of the same name where they belong: 3, 6, 7, 8 and 9
//! in subscription-faults.test.ts, notify.test.ts and elysia-plugin.test.ts, 5 in test/system/verify.test.ts, 10 in
//! epochs.test.ts, 11 in test/system/process.test.ts. Of 12, who may do what is in privileges.test.ts, and purging in small
//! indexed steps in retention.test.ts.

import { expect, test } from "bun:test";
import { join } from "node:path";

import postgres from "postgres";

import { migrations } from "../../src/adapters/postgres/migrations.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { makeTemporaryFolder } from "../../src/adapters/runtime/temporary-folder.ts";
import { decodeCursor } from "../../src/core/cursor-codec.ts";
import { hasCode } from "../../src/core/errors.ts";
import type { ConsumerStore } from "../../src/core/store.ts";
import { silent } from "../../src/library/defaults.ts";
import { openStore } from "../../src/library/open-store.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { keepReceiptsShort } from "../../src/roles/keep-receipts-short.ts";
import { createLogDatabase, openTestClient } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import { subscribe } from "../support/subscriber.ts";
import { waitFor } from "../support/wait-for.ts";

const connect = (url: string): postgres.Sql =>
  postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });

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
