//! A database with the log in it.
//!
//! Migrated on its own each time, never cloned from a template: the log knows its database, and a clone is another one.

import type postgres from "postgres";

import { openClient, type PostgresClient, type PostgresTarget } from "../../src/adapters/postgres/client.ts";
import { applyMigrations } from "../../src/adapters/postgres/migrate/apply-migrations.ts";
import { migrations } from "../../src/adapters/postgres/migrate/migrations.ts";
import { makeLog, readingSession } from "../../src/adapters/postgres/read/log.ts";
import { makeReader, type Reader, type ReaderOptions } from "../../src/core/read/reader.ts";
import { startCursor } from "../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { silent } from "../../src/library/defaults.ts";
import { createTestDatabase, type TestDatabase } from "./postgres.ts";

export const targetOf = (url: string): PostgresTarget => ({ url, tls: "off", ca: null });

export const openTestClient = (url: string): PostgresClient =>
  openClient(targetOf(url), {
    name: "test",
    deadlineMs: 20_000,
    session: readingSession,
  });

/** Brings an empty database into the state of a fresh installation. */
export const migrate = async (url: string): Promise<void> => {
  await using client = openTestClient(url);
  await applyMigrations(client, migrations, { logger: silent, signal: new AbortController().signal });
};

export const createLogDatabase = async (): Promise<TestDatabase> => {
  const database = await createTestDatabase();
  await migrate(database.url);
  return database;
};

/** As after a promotion: the server says other things of itself than the newest epoch, and has been started at another time. */
export const becomeAnotherServer = async (sql: postgres.Sql): Promise<void> => {
  await sql`update pgstream.epochs set timeline = timeline + 100`;
  await sql`update pgstream.settings set server_started_at = server_started_at - interval '1 day'`;
};

/** A reader from earliest, of everything, with pages as small as told. */
export const readerFromStart = async (
  client: PostgresClient,
  options: Partial<ReaderOptions> = {},
): Promise<Reader> => {
  const log = makeLog(client);
  const { newest } = await log.epoch();
  return makeReader(log, await startCursor(log, newest, { kind: "earliest" }), {
    filter: parseTopicPatterns([">"]),
    epoch: newest,
    batchEventsMax: 1_000,
    pageEventsMax: 10_000,
    pageBytesMax: 2 ** 24,
    onGap: (gap) => {
      throw new Error(`unexpected gap: ${JSON.stringify(gap)}`);
    },
    ...options,
  });
};

/** Reads until there is nothing more; the ids in the order of delivery. */
export const readAll = async (reader: Reader): Promise<bigint[]> => {
  const ids: bigint[] = [];
  for (let batch = await reader.next(); batch !== null; batch = await reader.next()) {
    ids.push(...batch.events.map((event) => event.id));
  }
  return ids;
};
