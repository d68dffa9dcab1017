//! What an application need not say.

import type { PostgresTarget } from "../adapters/postgres/client.ts";
import { isDriverPatched } from "../adapters/postgres/driver-patch.ts";
import { makeClock } from "../adapters/runtime/clock.ts";
import { PgstreamError } from "../core/errors.ts";
import type { Clock, Logger } from "../core/ports.ts";
import { checkNumbers, checkWords, most } from "./given-options.ts";

/** How the library reaches the database and the world; the same for publishers and subscriptions. */
export interface ConnectOptions {
  /** A URL without TLS, or where to connect and whom to trust. */
  readonly database: string | PostgresTarget;
  /** Shows in pg_stat_activity, after "pgstream ". */
  readonly name?: string;
  /** The longest a statement may take. Default 30,000 ms. */
  readonly deadlineMs?: number;
  /** Default: silent. */
  readonly logger?: Logger;
  /** Default: the system's. */
  readonly clock?: Clock;
}

export const silent: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silent,
};

export const backoffDefault = { delayMsMin: 50, delayMsMax: 5_000 };

/**
 * When the server gives a statement up: after we have, so that one that is slow and not stuck is still there to answer
 * its repeat, but soon, since those that we have given up on would fill the server one by one. It refuses a longer one than `most`.
 */
export const serverTimeout = (deadlineMs: number): string => `${Math.min(2 * deadlineMs, most)}ms`;

const isUrl = (it: unknown): it is string => typeof it === "string" && /^postgres(?:ql)?:\/\/./.test(it);

const refuseStrayPercent = (url: string): void => {
  try {
    decodeURIComponent(url);
  } catch {
    throw new PgstreamError(
      "invalid_config",
      'database is a URL with a "%" that encodes nothing: write %25 for the character itself',
    );
  }
};

/** Typed, and yet looked at: an environment variable that is not set is what is given most often by mistake. */
const isTarget = (it: unknown): it is PostgresTarget => {
  if (typeof it !== "object" || it === null) return false;
  checkWords<Partial<PostgresTarget>>(it, { tls: ["off", "verify", "no-verify"] });
  return "tls" in it && "url" in it && isUrl(it.url);
};

/**
 * A URL alone means no TLS, whatever its `sslmode`: to be told so beats to speak in the clear unawares.
 * @throws PgstreamError `invalid_config`
 */
const targetOf = (database: unknown): PostgresTarget => {
  if (isTarget(database)) {
    refuseStrayPercent(database.url);
    return database;
  }
  if (!isUrl(database)) {
    const given = database === undefined || database === null ? String(database) : "no URL";
    throw new PgstreamError(
      "invalid_config",
      `database is ${given}: give a URL such as postgres://me:secret@host:5432/app, or { url, tls, ca }`,
    );
  }
  refuseStrayPercent(database);
  if (/[?&]ssl/.test(database)) {
    throw new PgstreamError(
      "invalid_config",
      'database has an ssl parameter, and a URL alone means no TLS: give { url, tls: "verify", ca: null } instead, url without it',
    );
  }
  return { url: database, tls: "off", ca: null };
};

/** @throws PgstreamError `invalid_config` */
export const connectDefaults = (options: ConnectOptions, name: string) => {
  checkNumbers(options, { deadlineMs: 1 });
  if (!isDriverPatched()) {
    throw new PgstreamError(
      "invalid_config",
      'the driver "postgres" lacks pgstream\'s patch, without which it can hang: name patches/postgres@3.4.9.patch in patchedDependencies of your package.json, as the README shows, and run bun install',
    );
  }
  return {
    target: targetOf(options.database),
    name: options.name ?? name,
    deadlineMs: options.deadlineMs ?? 30_000,
    logger: options.logger ?? silent,
    clock: options.clock ?? makeClock(),
  };
};
