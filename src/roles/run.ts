//! Several roles in one process. The migrator goes first, to its end; the others follow together. The process lives as
//! long as one role does: a role that fails leaves the others running, except the migrator, without which they cannot
//! work, and except for wrong settings, which only a restart mends.

import type { RoleName } from "../config/role-names.ts";
import { hasCode } from "../core/errors.ts";
import { hostRole, type Ending, type HostedRole } from "./host.ts";
import type { Role, RoleContext } from "./role.ts";
import { whenAborted } from "./when-aborted.ts";

export interface RoleEntry {
  readonly name: RoleName;
  readonly load: () => Promise<Role>;
}

/** What the process does right now, for whoever shows it to the outside. */
export interface Scene {
  readonly roles: readonly HostedRole[];
  readonly isStopping: boolean;
}

const isFatal = (name: RoleName, ending: Ending): boolean =>
  ending !== "ended" && (name === "migrator" || hasCode(ending.error, "invalid_config"));

/** @throws PgstreamError `invalid_config` when that was the reason of one of them */
const exitCodeOf = (endings: readonly Ending[]): number => {
  const failures = endings.filter((it) => it !== "ended");
  const wrong = failures.find(({ error }) => hasCode(error, "invalid_config"));
  if (wrong !== undefined) throw wrong.error;
  return failures.length > 0 ? 1 : 0;
};

const hostAll = (entries: readonly RoleEntry[], context: RoleContext, onChange: () => void): HostedRole[] => {
  const migrated = Promise.withResolvers<void>();
  const hasMigrator = entries.some(({ name }) => name === "migrator");
  if (!hasMigrator) migrated.resolve();
  return entries.map(({ name, load }) => {
    const gate = name === "migrator" ? Promise.resolve() : migrated.promise;
    const hosted = hostRole(name, context, { load, gate, onChange });
    if (name === "migrator") {
      void hosted.end.then((ending) => {
        if (ending === "ended") migrated.resolve();
      });
    }
    return hosted;
  });
};

const untilFatal = async (roles: readonly HostedRole[]): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const { name, end } of roles) {
    void end.then((ending) => {
      if (isFatal(name, ending)) resolve();
    });
  }
  await promise;
};

/** Null when some role did not stop in time. */
const drain = async (
  roles: readonly HostedRole[],
  { clock, config, logger }: RoleContext,
): Promise<readonly Ending[] | null> => {
  const { shutdownTimeoutMs } = config.process;
  const late = new Set(roles.map(({ name }) => name));
  const isDrained = new AbortController();
  const stopOne = async (it: HostedRole): Promise<Ending> => {
    const ending = await it.stop();
    late.delete(it.name);
    return ending;
  };
  const endings = await Promise.race([
    Promise.all(roles.map(async (it) => await stopOne(it))),
    clock.sleep(shutdownTimeoutMs, isDrained.signal).then(() => null),
  ]);
  isDrained.abort();
  if (endings === null) {
    logger.error({ roles: [...late], shutdownTimeoutMs }, "roles did not stop in time; leaving them behind");
  }
  return endings;
};

/**
 * Runs the roles until the signal aborts, all have ended, or one failed beyond repair; then stops what still runs,
 * within `SHUTDOWN_TIMEOUT`.
 * @returns the exit code: 0, or 1 when a role failed or did not stop in time
 * @throws PgstreamError `invalid_config` when a role's settings were wrong
 */
export const runRoles = async (
  entries: readonly RoleEntry[],
  context: RoleContext,
  onChange: (scene: Scene) => void,
): Promise<number> => {
  const stopping = new AbortController();
  const signal = AbortSignal.any([context.signal, stopping.signal]);
  let roles: readonly HostedRole[] = [];
  const show = (): void => onChange({ roles, isStopping: signal.aborted });
  roles = hostAll(entries, { ...context, signal }, show);
  show();

  await Promise.race([
    whenAborted(context.signal),
    untilFatal(roles),
    Promise.all(roles.map(async ({ end }) => await end)),
  ]);
  stopping.abort();
  show();
  const endings = await drain(roles, context);
  return endings === null ? 1 : exitCodeOf(endings);
};
