//! All that the migrator does to a database, in order. Every step may be repeated, and several processes may do it at
//! once: whoever was stopped anywhere, or lost a race, begins again from the top.

import type { Migration } from "../../../core/migration-plan.ts";
import type { Logger } from "../../../core/ports.ts";
import { checkServer } from "../check-server.ts";
import type { PostgresClient } from "../client.ts";
import { removeEmptySegments } from "../purge/remove-segments.ts";
import { access } from "./access.ts";
import { applyMigrations } from "./apply-migrations.ts";
import { dedicateDatabase } from "./dedicated-database.ts";
import { type LogSettings, prepareSegments, writeLogSettings } from "./log-settings.ts";
import { migrations as embedded } from "./migrations.ts";
import { provisionGrants } from "./provision-grants.ts";
import { type Login, provisionGroups, provisionLogins } from "./provision-roles.ts";

export interface MigrateOptions {
  readonly unsafeDurability: boolean;
  /** Whether schema pgstream goes on the database's search path. */
  readonly dedicatedDatabase: boolean;
  readonly logins: readonly Login[];
  readonly log: LogSettings;
  readonly logger: Logger;
  /** Aborts: the step in hand is finished, no other begun. */
  readonly signal: AbortSignal;
  /** Default: those of this program. */
  readonly migrations?: readonly Migration[];
}

/**
 * Makes the database ready for the other roles, or stops early when the signal aborts.
 * @throws PgstreamError retryable when the database was lost or busy; else `schema_newer`, `migration_tampered`,
 * `permission_denied` (the message says what an administrator must run), `unsafe_durability`, `standby`
 */
export const migrateDatabase = async (client: PostgresClient, options: MigrateOptions): Promise<void> => {
  const { logger, logins, signal } = options;
  const steps: readonly (() => Promise<unknown>)[] = [
    async () => await checkServer(client, { ...options, writes: true }),
    async () => await applyMigrations(client, options.migrations ?? embedded, { logger, signal }),
    async () => await provisionGroups(client, logger),
    async () => await provisionGrants(client, access, logger),
    async () => await provisionLogins(client, logins, logger),
    async () => (options.dedicatedDatabase ? await dedicateDatabase(client, logger) : undefined),
    async () => await writeLogSettings(client, options.log),
    async () => await prepareSegments(client),
    async () => await removeEmptySegments(client, logger),
  ];
  for (const step of steps) {
    if (signal.aborted) return;
    await step();
  }
};
