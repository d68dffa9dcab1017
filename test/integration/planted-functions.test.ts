//! Somebody may create functions in a schema on the search path, as everybody might in public before PostgreSQL 15. None of them is
//! called by anybody who has more rights.

import { afterAll, beforeAll, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { checkSchema, checkServer } from "../../src/adapters/postgres/check-server.ts";
import { openClient } from "../../src/adapters/postgres/client.ts";
import { migrations } from "../../src/adapters/postgres/migrate/migrations.ts";
import { removeEmptySegments } from "../../src/adapters/postgres/purge/remove-segments.ts";
import {
  accountedIds,
  listEvents,
  listTopics,
  oldestSegmentAgeMs,
} from "../../src/adapters/postgres/read/list-events.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { targetOf } from "../support/log-database.ts";
import {
  asUser,
  connect,
  createOwnedDatabase,
  migrateAs,
  openMigratorClient,
  type OwnedDatabase,
  recordingLogger,
} from "../support/migrator.ts";
import { plantFunctions } from "../support/planted-functions.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { subscribe } from "../support/subscriber.ts";
import { waitFor } from "../support/wait-for.ts";

const logins = (["producer", "consumer", "purger"] as const).map((name) => ({
  name,
  group: `pgstream_${name}` as const,
  password: "secret",
}));

describeOnPostgres([15, 18], "functions planted in public", (version) => {
  let server: PostgresServer;
  let database: OwnedDatabase;
  const urlOf = (login: string): string => asUser(database.url, login, "secret");

  beforeAll(async () => {
    server = await startOwnServer({ version });
    database = await createOwnedDatabase(server);
    await migrateAs(database.url, { logins });
    await using admin = connect(database.adminUrl);
    await plantFunctions(admin);
    // Ahead of pg_catalog even what takes the same is a better match.
    await admin.unsafe(`alter database ${database.name} set search_path = public, pg_catalog`);
  });
  afterAll(async () => await server.close());

  test("are not called by the migrator", async () => {
    await using owner = connect(database.url);
    await owner`grant insert on pgstream.events to pgstream_producer`;
    await migrateAs(database.url, { logins });
    await using client = openMigratorClient(database.url);
    await removeEmptySegments(client, recordingLogger().logger);
  });

  test.each([false, true])("are not called by a publisher nor a subscription; pooled: %p", async (pooled) => {
    const { logger, lines } = recordingLogger();
    await using publisher = openPublisher({ database: urlOf("producer"), pooled, logger });
    const topic = `of.${pooled ? "pooled" : "own"}`;
    const send = async (data: number | string): Promise<bigint> =>
      await publisher.publish({ topic, data, key: "k", type: "t", headers: { a: "1" } });
    // One that is larger than its share of a page has all of them weighed.
    const sent = [await send(1), await send("x".repeat(5_000)), await send(3)];
    const wakeups = pooled ? "poll" : "listen";
    await using subscriber = subscribe({
      database: urlOf("consumer"),
      topics: [topic],
      from: "earliest",
      wakeups,
      logger,
    });
    const untilHandled = async (count: number): Promise<void> => {
      const isOver = () =>
        subscriber.ids.length === count || subscriber.subscription.status().state === "failed";
      await waitFor(isOver, { what: "all that was sent" });
      expect(subscriber.subscription.status()).toMatchObject({ reason: null });
    };
    await untilHandled(3);
    sent.push(await send(4));
    await untilHandled(4);
    expect(subscriber.ids).toEqual(sent);
    await publisher.close(5_000);
    expect(lines.filter((it) => it.includes("planted"))).toEqual([]);
  });

  test.each([false, true])("are not called by what a role or verify looks at; pooled: %p", async (pooled) => {
    const target = targetOf(urlOf("consumer"));
    await using client = openClient(target, { name: "look", deadlineMs: 10_000, ownConnection: !pooled });
    const { logger } = recordingLogger();
    await checkServer(client, { unsafeDurability: false, logger });
    await checkSchema(client, migrations.length, "pgstream_consumer");
    const { newest } = await makeLog(client, pooled).epoch();
    const ids = (await listTopics(client)).map(({ id }) => id);
    const listed = await Array.fromAsync(listEvents(client, newest, ids, 1_000));
    expect(await accountedIds(client, newest, ids, [1n])).toEqual(new Set([1n]));
    expect(listed.length).toBeGreaterThan(0);
    expect(await oldestSegmentAgeMs(client)).toBeGreaterThan(0);
  });
});
