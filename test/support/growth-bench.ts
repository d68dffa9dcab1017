//! A server of one's own on which work is counted, a database with the log in it, and readers whose work is counted.

import { randomBytes } from "node:crypto";

import postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import type { Batch, Reader, ReaderOptions } from "../../src/core/read/reader.ts";
import { makeReader } from "../../src/core/read/reader.ts";
import { type From, startCursor } from "../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { type Meter, meterSettings, openMeter } from "./growth-meter.ts";
import { migrate, openTestClient } from "./log-database.ts";
import { startOwnServer } from "./postgres.ts";
import { withAdmin } from "./run-databases.ts";

/** What is counted does not depend on what survives a crash, and a log is made twice as fast without. */
export const startGrowthServer = async (
  settings: Readonly<Record<string, string | number>> = {},
): Promise<PostgresServer> =>
  await startOwnServer({
    settings: { ...meterSettings, fsync: "off", max_wal_size: "4GB", shared_buffers: "256MB", ...settings },
  });

export interface GrowthBench extends AsyncDisposable {
  readonly url: string;
  /** One connection of the log's owner. */
  readonly sql: postgres.Sql;
  readonly session: () => postgres.Sql;
}

/** A fresh database with the log in it. */
export const openGrowthBench = async (server: PostgresServer): Promise<GrowthBench> => {
  await using opening = new AsyncDisposableStack();
  const name = `growth_${randomBytes(4).toString("hex")}`;
  await withAdmin(server.url(), async (admin) => {
    await admin.unsafe(`create database ${name} template template0`);
  });
  opening.defer(
    async () =>
      await withAdmin(server.url(), async (admin) => {
        await admin.unsafe(`drop database ${name} with (force)`);
      }),
  );
  const url = server.url(name);
  await migrate(url);
  const session = (): postgres.Sql =>
    open.adopt(
      postgres(url, { max: 1, fetch_types: false, onnotice: () => {} }),
      async (it) => await it.end({ timeout: 1 }),
    );
  const open = opening.move();
  return { url, sql: session(), session, [Symbol.asyncDispose]: async () => await open.disposeAsync() };
};

export interface CountedReader extends AsyncDisposable {
  readonly next: Reader["next"];
  readonly take: Meter["take"];
}

export interface CountedReaderOptions extends Partial<Omit<ReaderOptions, "filter">> {
  readonly topics?: readonly string[];
  readonly from?: From;
}

/** A reader on a connection of its own, as a process that has just started. */
export const openCountedReader = async (
  server: PostgresServer,
  bench: GrowthBench,
  { topics = [">"], from = { kind: "earliest" }, ...options }: CountedReaderOptions = {},
): Promise<CountedReader> => {
  await using opening = new AsyncDisposableStack();
  const client = opening.use(openTestClient(bench.url));
  const meter = opening.use(await openMeter(client, server.url(), new URL(bench.url).pathname.slice(1)));
  const log = makeLog(meter.client);
  const { newest } = await log.epoch();
  const cursor = await startCursor(log, newest, from);
  const reader = makeReader(log, cursor, {
    filter: parseTopicPatterns(topics),
    epoch: newest,
    batchEventsMax: 1_000,
    pageEventsMax: 10_000,
    pageBytesMax: 2 ** 24,
    onGap: (gap) => {
      throw new Error(`unexpected gap: ${JSON.stringify(gap)}`);
    },
    ...options,
  });
  const open = opening.move();
  return {
    next: async () => await reader.next(),
    take: meter.take,
    [Symbol.asyncDispose]: async () => await open.disposeAsync(),
  };
};

/** Reads until there is nothing more, or until `enough` says so; where it stands then. */
export const readOn = async (
  reader: CountedReader,
  onBatch: (batch: Batch) => "go on" | "enough",
): Promise<Cursor | null> => {
  let cursor: Cursor | null = null;
  for (let batch = await reader.next(); batch !== null; batch = await reader.next()) {
    ({ cursor } = batch);
    if (onBatch(batch) === "enough") break;
  }
  return cursor;
};
