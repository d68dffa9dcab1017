//! What an application need not say.

import type { PostgresTarget } from "../adapters/postgres/client.ts";
import { makeClock } from "../adapters/runtime/clock.ts";
import type { Clock, Logger } from "../core/ports.ts";

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
 * its repeat, but soon, since those that we have given up on would fill the server one by one.
 */
export const serverTimeout = (deadlineMs: number): string => `${2 * deadlineMs}ms`;

export const connectDefaults = (options: ConnectOptions, name: string) => ({
  target:
    typeof options.database === "string"
      ? ({ url: options.database, tls: "off", ca: null } as const)
      : options.database,
  name: options.name ?? name,
  deadlineMs: options.deadlineMs ?? 30_000,
  logger: options.logger ?? silent,
  clock: options.clock ?? makeClock(),
});
