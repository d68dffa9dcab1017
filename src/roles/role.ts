//! The contract between the process and the roles it plays.

import type { AnyElysia } from "elysia";

import type { Config } from "../config/config.ts";
import type { RoleName } from "../config/role-names.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { Readiness } from "../http/health.ts";

export interface RoleContext {
  readonly config: Config;
  /** Already names the role. */
  readonly logger: Logger;
  readonly clock: Clock;
  /**
   * Aborts when the process is to stop: give up starting, end every wait, take up nothing new. Work in hand is not
   * cut short by it; {@link RunningRole.stop} waits for that.
   */
  readonly signal: AbortSignal;
}

/**
 * A role that has been started.
 *
 * To the implementer: hand this back as soon as the settings are known to be good, and wait for databases and
 * stores behind `status`, so that health can say what is missing.
 */
export interface RunningRole {
  /** Cheap and synchronous: it is asked by every probe. */
  readonly status: () => Readiness;
  /** Mounted at the root while the role runs. Two roles must not serve the same path. */
  readonly routes?: AnyElysia;
  /** Resolves when the role has ended, by itself or stopped, and holds nothing any more; rejects when it failed. */
  readonly done: Promise<void>;
  /** Finishes the work in hand, releases everything, settles `done`. Safe to call twice and after a failure. */
  readonly stop: () => Promise<void>;
}

/**
 * Starts a role.
 * @throws PgstreamError `invalid_config` ends the whole process with exit code 2; any other failure is the role's own
 */
export type Role = (context: RoleContext) => Promise<RunningRole>;

/** Roles by name, loaded when wanted: a producer must not pay for the consumer's drivers. */
export type Registry = Readonly<Partial<Record<RoleName, () => Promise<Role>>>>;
