//! What tests of the migrator share: a server on which it is nobody special, and ways to look at what it did.

import postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openClient, type PostgresClient } from "../../src/adapters/postgres/client.ts";
import { migrateDatabase, type MigrateOptions } from "../../src/adapters/postgres/migrate/migrate.ts";
import { isRetryable } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/ports.ts";
import { targetOf } from "./log-database.ts";
import { waitFor } from "./wait-for.ts";

/** Everything logged, one `level message {fields}` each. */
export const recordingLogger = (): { readonly logger: Logger; readonly lines: readonly string[] } => {
  const lines: string[] = [];
  const at =
    (level: string) =>
    (fields: Readonly<Record<string, unknown>>, message: string): void => {
      lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
    };
  const logger: Logger = {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => logger,
  };
  return { logger, lines };
};

export const migrateOptions = (options: Partial<MigrateOptions> = {}): MigrateOptions => ({
  unsafeDurability: false,
  dedicatedDatabase: false,
  logins: [],
  log: { createTopics: true, eventBytesMax: 1_048_576, idempotencyWindowMs: 86_400_000 },
  logger: recordingLogger().logger,
  signal: new AbortController().signal,
  ...options,
});

export const openMigratorClient = (url: string): PostgresClient =>
  openClient(targetOf(url), { name: "migrator", deadlineMs: 20_000 });

export const migrateAs = async (url: string, options: Partial<MigrateOptions> = {}): Promise<void> => {
  await using client = openMigratorClient(url);
  await migrateDatabase(client, migrateOptions(options));
};

/** What `work` failed with, null when it did not. */
export const caught = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
  } catch (error) {
    return error;
  }
  return null;
};

/** As the role does, in short: again and again while waiting may help. */
export const stubbornly = async <T>(work: () => Promise<T>): Promise<T> => {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isRetryable(error)) throw error;
    }
  }
};

/** A connection for the test's own statements. */
export const connect = (url: string): postgres.Sql & AsyncDisposable => {
  const sql = postgres(url, { max: 1, onnotice: () => undefined, connect_timeout: 10, fetch_types: false });
  return Object.assign(sql, { [Symbol.asyncDispose]: async () => await sql.end({ timeout: 1 }) });
};

export const asUser = (url: string, user: string, password: string): string => {
  const it = new URL(url);
  it.username = user;
  it.password = password;
  return it.href;
};

export interface OwnedDatabase {
  readonly name: string;
  /** As the owner. */
  readonly url: string;
  /** As the server's superuser. */
  readonly adminUrl: string;
}

let count = 0;

/**
 * A database as a managed service hands it out: owned by a login that is no superuser.
 * @param rights of the owner, e.g. `createrole`
 */
export const createOwnedDatabase = async (
  server: PostgresServer,
  rights = "createdb createrole",
): Promise<OwnedDatabase> => {
  count += 1;
  const name = `db_${count}`;
  const owner = `owner_${count}`;
  await using admin = connect(server.url());
  await admin.unsafe(`create role ${owner} login password 'owner' nosuperuser ${rights}`);
  await admin.unsafe(`create database ${name} owner ${owner}`);
  return { name, url: asUser(server.url(name), owner, "owner"), adminUrl: server.url(name) };
};

export const dropOwnedDatabase = async (server: PostgresServer, { name }: OwnedDatabase): Promise<void> => {
  await using admin = connect(server.url());
  await admin.unsafe(`drop database if exists ${name} with (force)`);
};

/** Removes the roles that pgstream makes, which are the cluster's, so that the next test starts afresh. */
export const dropRoles = async (server: PostgresServer): Promise<void> => {
  await using admin = connect(server.url());
  const roles = ["producer", "consumer", "purger"].flatMap((it) => [it, `pgstream_${it}`]);
  await admin.unsafe(`drop role if exists ${roles.join(", ")}`);
};

const systemSchemas = ["pg_catalog", "information_schema", "pg_toast", "pgstream"];

/**
 * What a database holds, as text to compare: objects, who may use them, and their comments.
 * @param only the one schema to look at; null: all but pgstream and the system's
 */
export const describeCatalog = async (url: string, only: string | null): Promise<readonly string[]> => {
  await using sql = connect(url);
  const rows = await sql<{ line: string }[]>`
    with wanted as (
      select oid, nspname from pg_namespace
      where case when ${only}::text is null then nspname <> all(${`{${systemSchemas.join(",")}}`}::text[]) and nspname !~ '^pg_t'
                 else nspname = ${only} end
    )
    select format('schema %s owner %s acl %s', nspname, nspowner::regrole, nspacl) as line
    from pg_namespace where oid in (select oid from wanted)
    union all
    select format('relation %s %s owner %s acl %s columns %s', c.relkind, c.oid::regclass, c.relowner::regrole, c.relacl,
      (select string_agg(format('%s %s %s', attname, atttypid::regtype, attnotnull), ', ' order by attnum)
       from pg_attribute where attrelid = c.oid and attnum > 0))
    from pg_class c where c.relnamespace in (select oid from wanted)
    union all
    select format('index %s', pg_get_indexdef(i.indexrelid))
    from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace in (select oid from wanted)
    union all
    select format('constraint %s on %s %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
    from pg_constraint where connamespace in (select oid from wanted)
    union all
    select format('routine %s acl %s %s', oid::regprocedure, proacl, md5(pg_get_functiondef(oid)))
    from pg_proc where pronamespace in (select oid from wanted) and prokind in ('f', 'p')
    union all
    select format('type %s', oid::regtype) from pg_type where typnamespace in (select oid from wanted)
    union all
    select format('operator %s', oid::regoperator) from pg_operator where oprnamespace in (select oid from wanted)
    union all
    select format('database setting %s %s', setrole, setconfig) from pg_db_role_setting
    where ${only}::text is null and setdatabase = (select oid from pg_database where datname = current_database())
    union all
    select format('extension %s', extname) from pg_extension where ${only}::text is null
    union all
    select format('default acl %s %s', defaclrole::regrole, defaclacl) from pg_default_acl where ${only}::text is null
    union all
    select format('database acl %s', datacl) from pg_database where ${only}::text is null and datname = current_database()
    order by line`;
  return rows.map(({ line }) => line);
};

/** Resolves when the query answers a row. */
export const untilRow = async (
  sql: postgres.Sql,
  query: string,
): Promise<Readonly<Record<string, unknown>>> =>
  await waitFor(async () => (await sql.unsafe<Record<string, unknown>[]>(query))[0], {
    what: `a row of ${query}`,
    pollIntervalMs: 5,
  });
