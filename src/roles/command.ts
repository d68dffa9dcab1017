//! What `pgstream <command>` can be.

import type { Config } from "../config/config.ts";
import type { RoleName } from "../config/role-names.ts";
import type { Clock, Logger } from "../core/ports.ts";

export interface CommandContext {
  readonly version: string;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Aborts at the first SIGTERM or SIGINT. */
  readonly signal: AbortSignal;
  /** One line of the command's result on standard output; the log is for everything else. */
  readonly print: (line: string) => void;
  /** The same for a line that changes: on a terminal it takes the place of the one shown before. */
  readonly show: (line: string) => void;
}

/** @returns the exit code; a PgstreamError thrown instead is one line on standard error and exit code 1, or 2 for settings */
export type Command = (config: Config, context: CommandContext) => Promise<number>;

export interface CommandEntry {
  /** For the help. */
  readonly about: string;
  /** Roles whose database must be configured; checked before the command is loaded. */
  readonly databases: (config: Config) => readonly RoleName[];
  readonly load: () => Promise<Command>;
}

/** By name; the first is the default. */
export type Commands = Readonly<Record<string, CommandEntry>>;
