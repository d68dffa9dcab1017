//! What every role asks of the server before it relies on it.

import { PgstreamError } from "../../core/errors.ts";
import type { Logger } from "../../core/ports.ts";
import type { PostgresClient } from "./client.ts";
import type { Group } from "./migrate/access.ts";
import { readSchemaVersion } from "./schema-version.ts";

const serverVersionMin = 15;

interface ServerFacts {
  readonly version: number;
  readonly standby: boolean;
  readonly read_only: boolean;
  readonly fsync: string;
  readonly full_page_writes: string;
  readonly synchronous_commit: string;
  readonly autovacuum: string;
  readonly encoding: string;
}

const durable = ["fsync", "full_page_writes", "synchronous_commit"] as const;

const refuse = (
  facts: ServerFacts,
  { unsafeDurability, writes = false }: Omit<CheckServerOptions, "logger">,
): void => {
  if (facts.version < serverVersionMin * 10_000) {
    throw new PgstreamError(
      "database_error",
      `the server is PostgreSQL ${Math.floor(facts.version / 10_000)}: pgstream needs ${serverVersionMin} or newer`,
    );
  }
  if (facts.standby) {
    throw new PgstreamError(
      "standby",
      "this server is a standby: connect to the primary, e.g. with the address that follows it",
    );
  }
  if (facts.encoding === "SQL_ASCII") {
    throw new PgstreamError(
      "database_error",
      "the database's encoding is SQL_ASCII, which takes any bytes, and one event that is not UTF-8 would end every subscription: create the database with another encoding, e.g. \"create database … encoding 'UTF8' template template0\"",
    );
  }
  if (facts.read_only && writes) {
    throw new PgstreamError(
      "database_error",
      "default_transaction_read_only is on for the server, the database or the login, and this has to write: reset it where it is set",
    );
  }
  const off = durable.filter((name) => facts[name] === "off");
  if (off.length === 0 || unsafeDurability) return;
  const reset = off.map((name) => `alter system reset ${name}`).join("; ");
  throw new PgstreamError(
    "unsafe_durability",
    `the server has ${off.join(" and ")} off: what was published could be lost in a crash; mend it, e.g. with "${reset}; select pg_reload_conf()" (it may also be set for the database or the role), or start with --unsafe-durability`,
    { details: { off } },
  );
};

const warn = (facts: ServerFacts, logger: Logger): void => {
  const { autovacuum, encoding } = facts;
  const off = durable.filter((name) => facts[name] === "off");
  if (off.length > 0) logger.warn({ off }, "durability is off: what was published can be lost in a crash");
  if (autovacuum === "off") {
    logger.warn({ autovacuum }, "autovacuum is off: tables will bloat until xids run out; turn it on");
  }
  if (encoding !== "UTF8") {
    logger.warn(
      { encoding },
      "the database's encoding is not UTF8: events with other characters are refused",
    );
  }
};

const readFacts = async (client: PostgresClient): Promise<ServerFacts> => {
  try {
    const [facts] = await client.run(
      (sql) => sql<ServerFacts[]>`
        select pg_catalog.current_setting('server_version_num')::integer as version, pg_catalog.pg_is_in_recovery() as standby,
          pg_catalog.current_setting('transaction_read_only')::boolean as read_only,
          pg_catalog.current_setting('fsync') as fsync, pg_catalog.current_setting('full_page_writes') as full_page_writes,
          pg_catalog.current_setting('synchronous_commit') as synchronous_commit, pg_catalog.current_setting('autovacuum') as autovacuum,
          pg_catalog.current_setting('server_encoding') as encoding`,
    );
    if (facts !== undefined) return facts;
  } catch (error) {
    // Not waited for: a database does not come by itself, and a wrong name should be told at once.
    if (!(error instanceof PgstreamError) || error.details["sqlstate"] !== "3D000") throw error;
    const message = `${error.message}: create it, or correct the URL`;
    throw new PgstreamError(error.code, message, { cause: error, details: error.details });
  }
  throw new PgstreamError("internal", "the server said nothing about itself");
};

export interface CheckServerOptions {
  readonly unsafeDurability: boolean;
  /** Whether to refuse also where nothing may be written. Default false. */
  readonly writes?: boolean;
  readonly logger: Logger;
}

/**
 * Refuses a server that would break promises; warns of what is merely unwise.
 * @throws PgstreamError `unsafe_durability`, `standby`, `database_error` for a server too old, read-only, or with an encoding that is none; none
 * of them retryable
 */
export const checkServer = async (client: PostgresClient, options: CheckServerOptions): Promise<void> => {
  const facts = await readFacts(client);
  refuse(facts, options);
  warn(facts, options.logger);
};

/** One thing that only a member of the group may do, besides the owner. */
const workOf: Readonly<Record<Group, readonly [what: string, name: string]>> = {
  pgstream_producer: ["publish", "publish_batch"],
  pgstream_consumer: ["subscribe", "events"],
  pgstream_purger: ["purge", "prepare_segments"],
};

interface GrantColumns {
  readonly granted: boolean;
  /** What makes a member of the group have its rights who does not. */
  readonly inherit: string | null;
}

/**
 * The migrator gives grants after the last migration, all at once: whoever looks in between has none yet. Whoever belongs to
 * another group only would start, and fail.
 */
const checkGrants = async (client: PostgresClient, group: Group): Promise<void> => {
  const [what, name] = workOf[group];
  // By number: by name it is an error where the schema may not be used.
  const [row] = await client.run(
    (sql) => sql<GrantColumns[]>`
      select pg_catalog.has_schema_privilege(n.oid, 'usage') and (
          exists (select from pg_class c where c.relnamespace = n.oid and c.relname = ${name}::text
            and pg_catalog.has_table_privilege(c.oid, 'select'))
          or exists (select from pg_proc p where p.pronamespace = n.oid and p.proname = ${name}::text
            and pg_catalog.has_function_privilege(p.oid, 'execute'))) as granted,
        (select case when pg_catalog.current_setting('server_version_num')::integer < 160000
            then pg_catalog.format('alter role %I inherit', current_user)
            else pg_catalog.format('grant %I to %I with inherit true', r.rolname, current_user) end
          from pg_roles r
          where r.rolname = ${group}::text
            and pg_catalog.pg_has_role(r.oid, 'member') and not pg_catalog.pg_has_role(r.oid, 'usage')) as inherit
      from pg_namespace n where n.nspname = 'pgstream'`,
  );
  if (row?.granted === true) return;
  const inherit = row?.inherit ?? null;
  throw new PgstreamError(
    "permission_denied",
    inherit === null
      ? `this login has no right to ${what}: grant it ${group}, or run the migrator, which grants the group what it needs`
      : `this login is in ${group}, and does not inherit the right to ${what}: run "${inherit}"`,
    { retryable: true, details: { group, remedy: inherit ?? `grant ${group}` } },
  );
};

/**
 * Refuses a database whose schema is not this program's, or where the login has no rights yet. Needs no privileges.
 * @param version how many migrations this program has
 * @param group whose work the login is to do
 * @throws PgstreamError `not_migrated`, `permission_denied` (both retryable: the migrator may be at work), `schema_newer`
 */
export const checkSchema = async (client: PostgresClient, version: number, group: Group): Promise<void> => {
  const found = await readSchemaVersion(client);
  if (found === version) {
    await checkGrants(client, group);
    return;
  }
  if (found !== null && found > version) {
    throw new PgstreamError(
      "schema_newer",
      `the database has ${found} migrations, this program knows ${version}: run a newer pgstream`,
      { details: { found, version } },
    );
  }
  throw new PgstreamError(
    "not_migrated",
    `the database has ${found ?? 0} of ${version} migrations: run the migrator (ROLES=migrator)`,
    { retryable: true, details: { found, version } },
  );
};
