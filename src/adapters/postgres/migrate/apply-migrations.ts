//! Brings schema pgstream up to date. Each migration is one transaction together with its row in pgstream.migrations,
//! and the state is read anew before each: whoever dies in between, or does the same at the same time, changes nothing.

import { PgstreamError } from "../../../core/errors.ts";
import { planMigrations, type AppliedMigration, type Migration } from "../../../core/migration-plan.ts";
import type { Logger } from "../../../core/ports.ts";
import type { PostgresClient } from "../client.ts";
import { quoteName, quoteText } from "../quote.ts";
import { formatSchemaVersion, readSchemaVersion } from "../schema-version.ts";
import { refuseStrangers } from "./check-owner.ts";
import { commentOn, orAskAdministrator, runAsOne } from "./migrator-message.ts";

// A migration may have to rewrite what is there; a connection that went silent is given up in the end.
const migrationTimeoutMs = 3_600_000;
const bootstrapTimeoutMs = 30_000;

interface Bootstrapped {
  readonly user: string;
  readonly schema: boolean;
  readonly migrations: boolean;
}

const bootstrap = async (client: PostgresClient): Promise<void> => {
  const [found] = await client.run(
    (sql) => sql<Bootstrapped[]>`
      select current_user::text as "user",
        exists (select from pg_namespace where nspname = 'pgstream') as schema,
        exists (select from pg_class where relname = 'migrations'
                and relnamespace = (select oid from pg_namespace where nspname = 'pgstream')) as migrations`,
  );
  if (found?.migrations === true) return;
  const statements = [
    // Asked for only where it is missing: an administrator may have made it for a user who may not.
    ...(found?.schema === true ? [] : [`create schema if not exists pgstream`]),
    `create table if not exists pgstream.migrations (
       number integer primary key,
       file text not null,
       checksum text not null,
       applied_at timestamptz not null default now(),
       applied_by name not null default session_user
     )`,
  ];
  await orAskAdministrator(
    async () => await runAsOne(client, statements, { deadlineMs: bootstrapTimeoutMs }),
    [
      found?.schema === true
        ? `alter schema pgstream owner to ${quoteName(found.user)}`
        : `create schema pgstream authorization ${quoteName(found?.user ?? "")}`,
    ],
  );
};

const readApplied = async (client: PostgresClient): Promise<readonly AppliedMigration[]> =>
  await client.run(
    (sql) => sql<AppliedMigration[]>`select number, file, checksum from pgstream.migrations order by number`,
  );

const isAlreadyApplied = (error: unknown): boolean =>
  error instanceof PgstreamError &&
  error.details["sqlstate"] === "23505" &&
  error.cause instanceof Error &&
  "constraint_name" in error.cause &&
  error.cause.constraint_name === "migrations_pkey";

/** @returns false when another migrator was faster */
const apply = async (
  client: PostgresClient,
  { number, file, checksum, text }: Migration,
): Promise<boolean> => {
  try {
    await runAsOne(
      client,
      [
        // First, so that it fails before anything else happens when another migrator has done this one meanwhile.
        `insert into pgstream.migrations (number, file, checksum)
           values (${number}, ${quoteText(file)}, ${quoteText(checksum)})`,
        commentOn("table pgstream.migrations", formatSchemaVersion(number)),
        text,
        // Everybody may execute a new function unless told otherwise.
        `revoke execute on all routines in schema pgstream from public`,
      ],
      { deadlineMs: migrationTimeoutMs },
    );
    return true;
  } catch (error) {
    if (isAlreadyApplied(error)) return false;
    if (!(error instanceof PgstreamError)) throw error;
    const { code, retryable, details, message } = error;
    throw new PgstreamError(code, `migration ${file}: ${message}`, { cause: error, retryable, details });
  }
};

/** Everybody else goes by the comment, which a restore may have left out. */
const mendSchemaVersion = async (client: PostgresClient, version: number): Promise<void> => {
  if ((await readSchemaVersion(client)) === version) return;
  // A newer migrator may have been faster.
  const statement = `
    do $$ begin
      if (select max(number) from pgstream.migrations) = ${version} then
        ${commentOn("table pgstream.migrations", formatSchemaVersion(version))};
      end if;
    end $$`;
  await runAsOne(client, [statement], { deadlineMs: bootstrapTimeoutMs });
};

export interface ApplyOptions {
  readonly logger: Logger;
  /** Aborts: the migration in hand is finished, no other begun. */
  readonly signal: AbortSignal;
}

/**
 * Applies what is missing. Safe to repeat, and to run by several at once.
 * @returns how many this call applied
 * @throws PgstreamError `schema_newer`, `migration_tampered`, `permission_denied`; retryable when the database was lost or busy
 */
export const applyMigrations = async (
  client: PostgresClient,
  migrations: readonly Migration[],
  { logger, signal }: ApplyOptions,
): Promise<number> => {
  await bootstrap(client);
  // Afterwards: what was missing a moment ago may have been made by somebody else.
  await refuseStrangers(client);
  for (let applied = 0; ;) {
    const [next] = planMigrations(migrations, await readApplied(client));
    if (signal.aborted) return applied;
    if (next === undefined) {
      await mendSchemaVersion(client, migrations.length);
      return applied;
    }
    if (await apply(client, next)) {
      applied += 1;
      logger.info({ file: next.file }, "migration applied");
    }
  }
};
