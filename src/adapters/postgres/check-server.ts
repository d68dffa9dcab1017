//! What every role asks of the server before it relies on it.

import { PgstreamError } from "../../core/errors.ts";
import type { Logger } from "../../core/ports.ts";
import type { PostgresClient } from "./client.ts";
import { readSchemaVersion } from "./schema-version.ts";

const serverVersionMin = 15;

interface ServerFacts {
  readonly version: number;
  readonly standby: boolean;
  readonly fsync: string;
  readonly full_page_writes: string;
  readonly synchronous_commit: string;
  readonly autovacuum: string;
  readonly encoding: string;
}

const durable = ["fsync", "full_page_writes", "synchronous_commit"] as const;

const refuse = (facts: ServerFacts, unsafeDurability: boolean): void => {
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
        select current_setting('server_version_num')::integer as version, pg_is_in_recovery() as standby,
          current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
          current_setting('synchronous_commit') as synchronous_commit, current_setting('autovacuum') as autovacuum,
          current_setting('server_encoding') as encoding`,
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
  readonly logger: Logger;
}

/**
 * Refuses a server that would break promises; warns of what is merely unwise.
 * @throws PgstreamError `unsafe_durability`, `standby`, `database_error` for a server too old; none of them retryable
 */
export const checkServer = async (
  client: PostgresClient,
  { unsafeDurability, logger }: CheckServerOptions,
): Promise<void> => {
  const facts = await readFacts(client);
  refuse(facts, unsafeDurability);
  warn(facts, logger);
};

/** The migrator gives grants after the last migration, all at once: whoever looks in between has none yet. */
const checkGrants = async (client: PostgresClient): Promise<void> => {
  const [row] = await client.run(
    (sql) => sql<{ granted: boolean }[]>`select has_schema_privilege('pgstream', 'usage') as granted`,
  );
  if (row?.granted === true) return;
  throw new PgstreamError(
    "not_migrated",
    "this login has no rights in schema pgstream: run the migrator, or grant it the role's group, e.g. pgstream_consumer",
    { retryable: true },
  );
};

/**
 * Refuses a database whose schema is not this program's, or where the login has no rights yet. Needs no privileges.
 * @param version how many migrations this program has
 * @throws PgstreamError `not_migrated` (retryable: the migrator may be at work), `schema_newer`
 */
export const checkSchema = async (client: PostgresClient, version: number): Promise<void> => {
  const found = await readSchemaVersion(client);
  if (found === version) {
    await checkGrants(client);
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
