//! The benchmark's own PostgreSQL: as it comes, with what is stated here, and with durability looked at and not believed.

import { randomBytes } from "node:crypto";

import postgres from "postgres";

import { findBinaries } from "../src/adapters/embedded-postgres/binaries.ts";
import { startServer } from "../src/adapters/embedded-postgres/server.ts";
import { openClient } from "../src/adapters/postgres/client.ts";
import { migrateDatabase } from "../src/adapters/postgres/migrate/migrate.ts";
import { silent } from "../src/library/defaults.ts";
import { type BenchDatabase, DeliveryError } from "./context.ts";
import { makeServerLog, type ServerLog } from "./server-log.ts";

/**
 * All that differs from PostgreSQL's defaults: 64 connections that insert one by one, beside everybody else; and, as
 * docs/PERFORMANCE.md advises a server that is written to all day, checkpoints minutes apart, and pages handed to the disk as
 * they come, not 30 s later in one go. Durability is as it comes.
 */
const statedSettings = { max_connections: 200, max_wal_size: "8GB", backend_flush_after: "256kB" };

const shown = [
  "fsync",
  "synchronous_commit",
  "full_page_writes",
  "wal_sync_method",
  "wal_level",
  "shared_buffers",
  "max_wal_size",
  "checkpoint_timeout",
  "backend_flush_after",
  "work_mem",
  "autovacuum",
  "max_connections",
] as const;
const durable = ["fsync", "synchronous_commit", "full_page_writes"] as const;

export interface BenchServer extends AsyncDisposable {
  readonly adminUrl: string;
  readonly pid: number;
  readonly hasEnded: () => boolean;
  readonly log: ServerLog;
  readonly dataDir: string;
  readonly version: string;
  /** As the server shows them. */
  readonly settings: Readonly<Record<string, string>>;
  readonly createDatabase: (kind?: "migrated" | "empty") => Promise<BenchDatabase>;
  readonly checkpoint: () => Promise<void>;
}

const urlOf = (adminUrl: string, database: string): string => {
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  return url.href;
};

const readSettings = async (
  sql: postgres.Sql,
  extra: readonly string[],
): Promise<Readonly<Record<string, string>>> => {
  const rows = await sql<{ name: string; value: string }[]>`
    select name, current_setting(name) as value from unnest(string_to_array(${[...shown, ...extra].join(",")}, ',')) name`;
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
};

const migrate = async (url: string, signal: AbortSignal): Promise<void> => {
  await using client = openClient({ url, tls: "off", ca: null }, { name: "bench", deadlineMs: 60_000 });
  await migrateDatabase(client, {
    unsafeDurability: false,
    dedicatedDatabase: false,
    logins: [],
    log: { createTopics: true, eventBytesMax: 2 ** 20, idempotencyWindowMs: 86_400_000 },
    logger: silent,
    signal,
  });
};

const makeDatabases = (adminUrl: string, admin: postgres.Sql, signal: AbortSignal) => {
  const createDatabase = async (kind: "migrated" | "empty" = "migrated"): Promise<BenchDatabase> => {
    const name = `bench_${randomBytes(5).toString("hex")}`;
    await admin`create database ${admin(name)} template template0`;
    const url = urlOf(adminUrl, name);
    if (kind === "migrated") await migrate(url, signal);
    return {
      url,
      name,
      [Symbol.asyncDispose]: async () =>
        void (await admin`drop database if exists ${admin(name)} with (force)`),
    };
  };
  return { createDatabase, checkpoint: async () => void (await admin`checkpoint`) };
};

export interface BenchServerOptions {
  /** By name, over the stated ones. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Where `initdb` and `postgres` are; null or nothing for those that come with the packages. */
  readonly binDir?: string | null;
}

/**
 * @throws DeliveryError when the server does not keep what it acknowledges; PgstreamError when it cannot be started
 */
export const startBenchServer = async (
  { settings: extra = {}, binDir = null }: BenchServerOptions,
  signal: AbortSignal,
): Promise<BenchServer> => {
  await using opening = new AsyncDisposableStack();
  const binaries = await findBinaries(binDir === null ? {} : { binDir });
  const log = makeServerLog();
  const settings = { ...statedSettings, ...extra };
  const server = opening.use(await startServer({ binaries, password: "password", settings, onLog: log.add }));
  const adminUrl = server.url();
  const admin = opening.adopt(
    postgres(adminUrl, { max: 1, fetch_types: false, onnotice: () => {} }),
    async (sql) => await sql.end({ timeout: 1 }),
  );
  const shownSettings = await readSettings(admin, Object.keys(extra));
  const off = durable.filter((name) => shownSettings[name] !== "on");
  if (off.length > 0) {
    throw new DeliveryError(`${off.join(" and ")} not on: a figure without durability would tell nothing`);
  }
  const open = opening.move();
  return {
    adminUrl,
    pid: server.pid() ?? 0,
    hasEnded: () => server.pid() === undefined,
    log,
    dataDir: server.dataDir,
    version: server.version,
    settings: shownSettings,
    ...makeDatabases(adminUrl, admin, signal),
    [Symbol.asyncDispose]: async () => await open.disposeAsync(),
  };
};
