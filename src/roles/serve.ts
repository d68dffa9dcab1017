//! `pgstream serve`: the roles and the one HTTP server, for as long as they live.

import type { RoleName } from "../config/role-names.ts";
import { roleNames } from "../config/role-names.ts";
import { PgstreamError } from "../core/errors.ts";
import type { Command } from "./command.ts";
import { openDoor } from "./door.ts";
import type { Registry } from "./role.ts";
import { runRoles, type RoleEntry } from "./run.ts";

export const entriesOf = (names: readonly RoleName[], registry: Registry): readonly RoleEntry[] => {
  if (names.length === 0) {
    throw new PgstreamError(
      "invalid_config",
      `ROLES: nothing to run: name ${roleNames.join(", ")}, several with commas, or all`,
    );
  }
  return names.map((name) => {
    const load = registry[name];
    if (load === undefined) throw new PgstreamError("invalid_config", `ROLES: this build has no ${name}`);
    return { name, load };
  });
};

export const makeServe =
  (registry: Registry): Command =>
  async (config, { version, ...context }) => {
    const entries = entriesOf(config.process.roles, registry);
    const door = await openDoor(config.process, { logger: context.logger, version });
    try {
      return await runRoles(entries, { config, ...context }, door.show);
    } finally {
      await door.close();
    }
  };
