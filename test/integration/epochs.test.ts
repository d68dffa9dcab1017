//! Transaction ids and sequences do not survive a failover that lost commits, nor a dump and restore. Whoever stands on a
//! cursor of the past is told loudly: nothing new is taken for old, nothing old for new.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import { hasCode } from "../../src/core/errors.ts";
import { becomeAnotherServer, migrate } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { makeRandom } from "../support/seed.ts";
import { subscribe, type SubscriberOptions } from "../support/subscriber.ts";
import { waitFor } from "../support/wait-for.ts";

const connect = (url: string, max = 1): postgres.Sql =>
  postgres(url, { max, fetch_types: false, onnotice: () => {} });

const publish = async (sql: postgres.Sql, what: string): Promise<bigint> => {
  const [row] = await sql<
    { id: string }[]
  >`select pgstream.publish('t', ${JSON.stringify(what)}::text::json) as id`;
  return BigInt(row?.id ?? 0);
};

const epochs = async (sql: postgres.Sql): Promise<number> => {
  const [row] = await sql<{ n: string }[]>`select count(*) as n from pgstream.epochs`;
  return Number(row?.n);
};

/** Handles what there is, and says where it stood. */
const cursorAfterAll = async (database: string, events: number): Promise<string> => {
  await using subscriber = subscribe({ database });
  await waitFor(() => subscriber.ids.length === events && subscriber.subscription.status().state === "live", {
    what: `${events} events`,
  });
  return subscriber.cursor() ?? "";
};

/** What a subscription that stops by itself ends with, and what it had handled. */
const failure = async (options: SubscriberOptions): Promise<{ error: unknown; handled: number }> => {
  await using subscriber = subscribe(options);
  const error = await caught(subscriber.subscription.done);
  return { error, handled: subscriber.ids.length };
};

/** The events that a subscription told to start over handles, until it has so many. */
const startedOver = async (
  database: string,
  since: string | null,
  events: number,
): Promise<readonly string[]> => {
  await using subscriber = subscribe({ database, since, onEpochChange: "restart" });
  await waitFor(() => subscriber.json.length >= events && subscriber.subscription.status().state === "live", {
    what: `${events} events`,
  });
  return [...subscriber.json];
};

/** What a subscription told to cross handles, stopped behind each batch and started again, until it has so many events. */
const crossed = async (
  database: string,
  since: string | null,
  events: number,
): Promise<readonly string[]> => {
  const json: string[] = [];
  for (let cursor = since; json.length < events;) {
    await using subscriber = subscribe({
      database,
      since: cursor,
      onEpochChange: "cross",
      batchEventsMax: 2,
      pageEventsMax: 3,
    });
    await waitFor(() => subscriber.ids.length > 0, { what: "a batch" });
    await subscriber.subscription.stop();
    json.push(...subscriber.json);
    cursor = subscriber.cursor();
  }
  return json;
};

const firstOfNextEpoch = 1n << 47n;

describe("mistake 10: the database is not the one it was", () => {
  let server: PostgresServer;
  let admin: postgres.Sql;
  beforeAll(async () => {
    server = await startOwnServer();
    admin = connect(server.url());
  }, 60_000);
  afterAll(async () => {
    await admin.end();
    await server.close();
  });

  const create = async (name: string): Promise<postgres.Sql> => {
    await admin.unsafe(`drop database if exists ${name} with (force)`);
    await admin.unsafe(`create database ${name}`);
    await migrate(server.url(name));
    return connect(server.url(name), 12);
  };

  test("dropped and recreated under the same name: the ids begin again, and the old cursor belongs to another log", async () => {
    const before = await create("again");
    for (const what of ["a", "b", "c"]) await publish(before, what);
    const cursor = await cursorAfterAll(server.url("again"), 3);
    await before.end();

    const sql = await create("again");
    expect(await publish(sql, "new")).toBe(1n);
    const { error, handled } = await failure({ database: server.url("again"), since: cursor });
    expect(hasCode(error, "unknown_epoch")).toBeTrue();
    expect(handled).toBe(0);
    expect(await startedOver(server.url("again"), cursor, 1)).toEqual(['"new"']);
    await sql.end();
  }, 60_000);

  test("a copy of its rows: nothing is read until the first publish opens an epoch, and old rows are not new events", async () => {
    const original = await create("original");
    for (const what of ["a", "b", "c"]) await publish(original, what);
    const cursor = await cursorAfterAll(server.url("original"), 3);
    await original.end();
    await admin.unsafe("drop database if exists copy with (force)");
    await admin.unsafe("create database copy template original");
    const copy = connect(server.url("copy"));

    const early = await failure({ database: server.url("copy"), since: cursor });
    expect(hasCode(early.error, "epoch_changed")).toBeTrue();
    await using waiting = subscribe({ database: server.url("copy") });
    await waitFor(() => waiting.subscription.status().state === "retrying", {
      what: "a subscription that waits",
    });
    expect(waiting.subscription.status().reason).toContain("first publish");
    expect(waiting.ids).toEqual([]);

    expect(await publish(copy, "d")).toBe(firstOfNextEpoch);
    await waitFor(() => waiting.ids.length > 0, { what: "the first event of the new epoch" });
    expect(waiting.json).toEqual(['"d"']);
    const late = await failure({ database: server.url("copy"), since: cursor });
    expect(hasCode(late.error, "epoch_changed")).toBeTrue();
    expect(late.handled).toBe(0);
    expect(await startedOver(server.url("copy"), cursor, 1)).toEqual(['"d"']);
    expect(await crossed(server.url("copy"), cursor, 1)).toEqual(['"d"']);
    expect(await crossed(server.url("copy"), null, 4)).toEqual(['"a"', '"b"', '"c"', '"d"']);
    await copy.end();
  }, 60_000);

  test("an opening that is rolled back is harmless, and ten first publishes at once open one epoch", async () => {
    const original = await create("first");
    await publish(original, "a");
    await original.end();
    await admin.unsafe("drop database if exists second with (force)");
    await admin.unsafe("create database second template first");
    const sql = connect(server.url("second"), 12);
    await caught(
      sql.begin(async (transaction) => {
        await transaction`select pgstream.publish('t', '"rolled back"')`;
        throw new Error("roll back");
      }),
    );
    expect(await epochs(sql)).toBe(1);
    await sql`select pgstream.prepare_segments()`;
    const ids = await Promise.all(Array.from({ length: 10 }, async (_, n) => await publish(sql, `n${n}`)));
    expect(await epochs(sql)).toBe(2);
    expect(new Set(ids).size).toBe(10);
    expect(ids.every((id) => id >= firstOfNextEpoch && id < 2n * firstOfNextEpoch)).toBeTrue();
    expect(await startedOver(server.url("second"), null, 10)).toHaveLength(10);
    await sql.end();
  }, 60_000);

  test("changed while a subscription reads: it stops, or starts over when told so", async () => {
    const sql = await create("live");
    await publish(sql, "a");
    await using stopping = subscribe({ database: server.url("live") });
    await using restarting = subscribe({ database: server.url("live"), onEpochChange: "restart" });
    await waitFor(() => stopping.ids.length + restarting.ids.length === 2, { what: "the event before" });
    const ended = caught(stopping.subscription.done);
    await becomeAnotherServer(sql);
    await publish(sql, "b");
    expect(hasCode(await ended, "epoch_changed")).toBeTrue();
    expect(stopping.json).toEqual(['"a"']);
    await waitFor(() => restarting.json.length === 2, { what: "the event after" });
    expect(restarting.json).toEqual(['"a"', '"b"']);
    await sql.end();
  }, 60_000);
});

test("after a restart it is the same server, and the next tick writes down what to know it by", async () => {
  await using server = await startOwnServer();
  await migrate(server.url());
  const isKnown = async (sql: postgres.Sql): Promise<unknown> => {
    const [row] = await sql`select pgstream.is_known_server(s) as known from pgstream.settings s`;
    return row?.["known"];
  };
  const before = connect(server.url());
  expect(await isKnown(before)).toBe(true);
  await publish(before, "a");
  await before.end();
  await server.stop();
  await server.start();

  const sql = connect(server.url());
  expect(await isKnown(sql)).toBe(false);
  await publish(sql, "b");
  expect(await isKnown(sql)).toBe(false);
  await sql`select pgstream.tick()`;
  expect(await isKnown(sql)).toBe(true);
  await publish(sql, "c");
  expect(await epochs(sql)).toBe(1);
  // Rewritten, the table has another path: the server is asked again, and is still the same one.
  await sql`vacuum full pgstream.epochs`;
  expect(await isKnown(sql)).toBe(false);
  await publish(sql, "d");
  expect(await epochs(sql)).toBe(1);
  await sql.end();
}, 60_000);

test("a standby is refused, for its snapshots lack the running transactions; promoted, it is read", async () => {
  await using server = await startOwnServer();
  await migrate(server.url());
  const before = connect(server.url());
  await publish(before, "a");
  await before.end();
  await server.stop();
  await Bun.write(join(server.dataDir, "standby.signal"), "");
  await server.start();

  const sql = connect(server.url());
  expect(sqlstateOf(await caught(publish(sql, "refused")))).toBe("25006");
  await using subscriber = subscribe({ database: server.url(), onEpochChange: "restart" });
  await waitFor(() => subscriber.subscription.status().state === "retrying", {
    what: "a subscription that waits",
  });
  expect(subscriber.subscription.status().reason).toContain("standby");
  await sql`select pg_promote()`;
  expect(await publish(sql, "b")).toBe(firstOfNextEpoch);
  await waitFor(() => subscriber.ids.length > 0, { what: "the first event after the promotion" });
  expect(subscriber.json).toEqual(['"b"']);
  await sql.end();
}, 60_000);

describeOnPostgres([15], "another server", (version) => {
  const binDir = `/usr/lib/postgresql/${version}/bin`;
  const run = async (command: readonly string[], input: Blob | null = null): Promise<Blob> => {
    const child = Bun.spawn([...command], { stdin: input ?? "ignore", stdout: "pipe", stderr: "pipe" });
    const [output, complaints] = await Promise.all([
      new Response(child.stdout).blob(),
      new Response(child.stderr).text(),
    ]);
    if ((await child.exited) !== 0) throw new Error(complaints);
    return output;
  };

  test("with the rows of a dump, whose xids lie in the future there: loud, and nothing old comes as new", async () => {
    await using from = await startOwnServer({ version });
    await using to = await startOwnServer({ version });
    await migrate(from.url());
    const sql = connect(from.url());
    for (let n = 0; n < 300; n += 1) await sql`select pg_current_xact_id()`;
    for (const what of ["a", "b", "c"]) await publish(sql, what);
    const cursor = await cursorAfterAll(from.url(), 3);
    for (const what of ["unread 1", "unread 2", "unread 3"]) await publish(sql, what);
    const dump = await run([join(binDir, "pg_dump"), "--dbname", from.url()]);
    await run([join(binDir, "psql"), "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", to.url()], dump);

    const restored = connect(to.url());
    expect(await publish(restored, "d")).toBe(firstOfNextEpoch);
    const { error, handled } = await failure({ database: to.url(), since: cursor });
    expect(hasCode(error, "epoch_changed")).toBeTrue();
    expect(handled).toBe(0);
    // Until the restored xids are reached and passed.
    for (let n = 0; n < 400; n += 1) await restored`select pg_current_xact_id()`;
    await publish(restored, "e");
    expect(await startedOver(to.url(), cursor, 2)).toEqual(['"d"', '"e"']);
    const unread = ['"unread 1"', '"unread 2"', '"unread 3"'];
    expect(await crossed(to.url(), cursor, 5)).toEqual([...unread, '"d"', '"e"']);
    await Promise.all([sql.end(), restored.end()]);
  }, 90_000);

  test("promoted, on a new timeline: the first publish opens an epoch, and ids jump over what was lost", async () => {
    await using server = await startOwnServer({ version, settings: { restore_command: "false" } });
    await migrate(server.url());
    const before = connect(server.url());
    await publish(before, "a");
    const cursor = await cursorAfterAll(server.url(), 1);
    await publish(before, "unread");
    await before.end();
    await server.stop();
    await Bun.write(join(server.dataDir, "recovery.signal"), "");
    await server.start();

    const sql = connect(server.url());
    await waitFor(async () => (await sql`select where not pg_is_in_recovery()`).length > 0, {
      what: "the promotion",
    });
    expect(await publish(sql, "b")).toBe(firstOfNextEpoch);
    const { error } = await failure({ database: server.url(), since: cursor });
    expect(hasCode(error, "epoch_changed")).toBeTrue();
    expect(await startedOver(server.url(), cursor, 1)).toEqual(['"b"']);
    expect(await crossed(server.url(), cursor, 2)).toEqual(['"unread"', '"b"']);
    await sql.end();
  }, 90_000);

  test("promoted amid transactions that overlap: whoever crosses gets what it lacked, once, and nothing else", async () => {
    const random = makeRandom("crossing");
    await using server = await startOwnServer({ version, settings: { restore_command: "false" } });
    await migrate(server.url());
    const writers = Array.from({ length: 6 }, () => ({ sql: connect(server.url()), open: [] as bigint[] }));
    const committed: bigint[] = [];
    const step = async (): Promise<void> => {
      const writer = random.pick(writers);
      const { sql, open } = writer;
      if (open.length === 0) await sql`begin`;
      if (open.length === 0 || random.chance(0.6)) {
        open.push(await publish(sql, "x"));
        return;
      }
      const isKept = random.chance(0.8);
      await sql.unsafe(isKept ? "commit" : "rollback");
      if (isKept) committed.push(...open);
      writer.open = [];
    };
    const ticker = connect(server.url());
    await ticker`insert into pgstream.topics (name) values ('t')`;
    const handled: bigint[] = [];
    let cursor: string | null = null;
    for (let round = 0; round < 8; round += 1) {
      for (let n = 0; n < 25; n += 1) await step();
      if (random.chance(0.5)) await ticker`select pgstream.tick()`;
      await using subscriber = subscribe({
        database: server.url(),
        since: cursor,
        batchEventsMax: random.integer(1, 3),
        pageEventsMax: random.integer(1, 5),
      });
      const wanted = random.integer(0, 8);
      await waitFor(
        () => subscriber.ids.length >= wanted || subscriber.subscription.status().state === "live",
        {
          what: "some events",
        },
      );
      await subscriber.subscription.stop();
      handled.push(...subscriber.ids);
      cursor = subscriber.cursor();
    }
    // What is open goes down with the server.
    await Promise.all(
      [...writers.map(({ sql }) => sql), ticker].map(async (sql) => await sql.end({ timeout: 0 })),
    );
    await server.stop();
    await Bun.write(join(server.dataDir, "recovery.signal"), "");
    await server.start();
    const sql = connect(server.url());
    await waitFor(async () => (await sql`select where not pg_is_in_recovery()`).length > 0, {
      what: "the promotion",
    });
    committed.push(await publish(sql, "new"));
    await using subscriber = subscribe({
      database: server.url(),
      since: cursor,
      onEpochChange: "cross",
      batchEventsMax: random.integer(1, 3),
      pageEventsMax: random.integer(1, 5),
    });
    await waitFor(() => subscriber.ids.at(-1) === committed.at(-1), {
      what: "the event after the promotion",
    });
    handled.push(...subscriber.ids);
    const sorted = (ids: readonly bigint[]) => ids.toSorted((a, b) => (a < b ? -1 : 1));
    expect(sorted(handled)).toEqual(sorted(committed));
    await sql.end();
  }, 90_000);
});
