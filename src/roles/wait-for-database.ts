//! Waits until the database is there, migrated and fit to be relied on, whatever the order in which things start.

import { checkSchema, checkServer } from "../adapters/postgres/check-server.ts";
import type { PostgresClient } from "../adapters/postgres/client.ts";
import type { Group } from "../adapters/postgres/migrate/access.ts";
import { migrations } from "../adapters/postgres/migrate/migrations.ts";
import { messageOf, PgstreamError } from "../core/errors.ts";
import { keepTrying } from "../core/keep-trying.ts";
import type { RoleContext } from "./role.ts";

const backoff = { delayMsMin: 100, delayMsMax: 5_000 };
const logIntervalMs = 30_000;
const silenceMs = 3_000;

/** What the server answers for a login that the migrator has yet to make is the same as for a wrong password. */
const isLoginRefused = (error: unknown): boolean =>
  error instanceof PgstreamError && ["28P01", "28000"].includes(String(error.details["sqlstate"]));

/** Null when waiting cannot help. */
const obstacleOf = (error: unknown): string | null => {
  if (isLoginRefused(error)) return "its login: the migrator has yet to make it, or its password is wrong";
  if (!(error instanceof PgstreamError) || !error.retryable) return null;
  return error.code === "permission_denied"
    ? `its rights: ${String(error.details["remedy"])}`
    : `the database: ${error.code}`;
};

/** Whose connection it is: the login must have the rights of this role's group. */
interface RoleClient {
  readonly client: PostgresClient;
  readonly as: "producer" | "consumer" | "purger";
}

/**
 * Answers whether the database is ready; false when the signal aborted first. A login that does not exist yet is waited
 * for, so a wrong password shows in health and in the log, and does not end the role.
 * @param onWait told why it still waits
 * @throws PgstreamError what waiting cannot mend: `standby`, `unsafe_durability`, `schema_newer`, …
 */
export const waitForDatabase = async (
  { client, as }: RoleClient,
  { config, clock, logger }: RoleContext,
  signal: AbortSignal,
  onWait: (reason: string) => void,
): Promise<boolean> => {
  const group: Group = `pgstream_${as}`;
  // Things that start together are waited for in silence.
  let loggedAt = clock.now() - logIntervalMs + silenceMs;
  const check = async (): Promise<boolean> => {
    await checkServer(client, { unsafeDurability: config.database.unsafeDurability, logger });
    await checkSchema(client, migrations.length, group);
    return true;
  };
  const shouldRetry = (error: unknown): boolean => {
    const obstacle = obstacleOf(error);
    if (obstacle === null) return false;
    onWait(`waits for ${obstacle}`);
    if (clock.now() - loggedAt >= logIntervalMs) {
      loggedAt = clock.now();
      logger.warn({ reason: messageOf(error) }, "waiting for the database");
    }
    return true;
  };
  return (await keepTrying(check, { backoff, clock, random: Math.random, signal, shouldRetry })) ?? false;
};
