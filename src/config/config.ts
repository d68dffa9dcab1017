//! From text to one typed, checked configuration. Whatever is wrong is one `invalid_config` with one line that
//! says what, where it came from and how to mend it, and never shows a secret.

import { resolveDatabases, type DatabaseTargets } from "./database-target.ts";
import { givenFor, invalidConfig, type Given, type Sources } from "./given.ts";
import type { RoleName } from "./role-names.ts";
import type { Setting } from "./setting.ts";
import { allSettings, settings, type Settings } from "./settings.ts";
import { resolveStore, type StoreTarget } from "./store-target.ts";

type ValueOf<S> = S extends Setting<infer T> ? T : never;
/** What the settings say, one value each. */
export type Values = {
  readonly [Group in keyof Settings]: {
    readonly [Name in keyof Settings[Group]]: ValueOf<Settings[Group][Name]>;
  };
};

/** Everything a process needs to know, ready to use. Durations are milliseconds, sizes bytes. */
export interface Config extends Omit<Values, "database" | "process" | "consumer"> {
  readonly process: Omit<Values["process"], "roles" | "port"> & {
    /** In dependency order; empty when none was named. */
    readonly roles: readonly RoleName[];
    /** Null when the process opens no port; 0 for any free one. */
    readonly port: number | null;
  };
  readonly database: {
    /** Ask {@link databaseFor} instead, which says what to do when one is missing. */
    readonly targets: DatabaseTargets;
    readonly unsafeDurability: boolean;
  };
  readonly consumer: Omit<Values["consumer"], "storeUrl" | "storeCaFile"> & { readonly store: StoreTarget };
}

export interface ReadConfig {
  readonly config: Config;
  /** What was not left to its default, by environment name, with secrets starred: for the log. */
  readonly given: Readonly<Record<string, string>>;
  /** The texts of the secrets, for the log to star. */
  readonly secrets: readonly string[];
}

const shown = ({ text }: Given): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

const parseGiven = (it: Setting<unknown>, given: Given): unknown => {
  const parsed = it.parser.parse(given.text);
  if ("value" in parsed) return parsed.value;
  throw invalidConfig(`${given.origin}: ${it.secret ? "its value" : shown(given)} ${parsed.problem}`);
};

const portOf = (roles: readonly RoleName[], { process: { port }, purger }: Values): number | null => {
  if (roles.length === 0) return port;
  // What ends by itself is not asked how it is.
  if (roles.every((role) => role === "migrator" || (role === "purger" && purger.dryRun))) return null;
  if (port !== null) return port;
  if (roles.includes("consumer")) return 1337;
  return roles.includes("producer") ? 1338 : 1339;
};

const checkLogins = ({ process, migrator }: Values): void => {
  if (!migrator.createLogins || process.roles?.includes("migrator") !== true) return;
  for (const role of ["producer", "consumer", "purger"] as const) {
    if (migrator[`${role}Password`] !== null) continue;
    const env = settings.migrator[`${role}Password`].env;
    throw invalidConfig(`CREATE_LOGINS: ${env} is not set: give it or ${env}_FILE`);
  }
};

/** @throws PgstreamError `invalid_config` */
export const readConfig = (sources: Sources): ReadConfig => {
  const given: Record<string, string> = {};
  const secrets: string[] = [];
  const valueOf = (it: Setting<unknown>): unknown => {
    const found = givenFor(it, sources);
    if (found === null) return it.default.value;
    if (it.secret) secrets.push(found.text);
    given[it.env] = it.secret ? "***" : found.text;
    return parseGiven(it, found);
  };
  const groups: Record<string, Record<string, unknown>> = {};
  for (const { group, name, setting } of allSettings) (groups[group] ??= {})[name] = valueOf(setting);
  // The table's own type says what its values are; walking it loses that, hence the assertion.
  const values = groups as Values;
  checkLogins(values);

  const { storeUrl, storeCaFile, ...consumer } = values.consumer;
  const roles = values.process.roles ?? [];
  const config: Config = {
    ...values,
    process: { ...values.process, roles, port: portOf(roles, values) },
    database: {
      targets: resolveDatabases(values.database, sources),
      unsafeDurability: values.database.unsafeDurability,
    },
    consumer: { ...consumer, store: resolveStore(storeUrl, storeCaFile, sources) },
  };
  return { config, given, secrets };
};
