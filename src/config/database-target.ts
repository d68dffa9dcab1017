//! Which database each role connects to, and how far it trusts the wire.

import type { DatabaseUrl, TlsMode } from "./database-url.ts";
import { invalidConfig, readSettingFile, type Sources } from "./given.ts";
import type { RoleName } from "./role-names.ts";
import { settings } from "./settings.ts";

export interface DatabaseTarget {
  /** For the driver; says nothing about TLS. May hold a password: never log it. */
  readonly url: string;
  readonly tls: TlsMode;
  /** Certificates to trust, PEM; null for the system's. */
  readonly ca: string | null;
}

/** Null where neither the role's own URL nor DATABASE_URL was given. */
export type DatabaseTargets = Readonly<Record<RoleName, DatabaseTarget | null>>;

type DatabaseValues = Readonly<Record<"url" | `${RoleName}Url`, DatabaseUrl | null>> & {
  readonly tls: TlsMode | null;
  readonly caFile: string | null;
};

/** @throws PgstreamError `invalid_config` */
export const readCertificates = (path: string, origin: string, sources: Sources): string => {
  const pem = readSettingFile(path, origin, sources);
  if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
  throw invalidConfig(`${origin}: the file ${path} holds no certificate: give it in PEM form`);
};

const targetOf = (it: DatabaseUrl, values: DatabaseValues, sources: Sources): DatabaseTarget => {
  const caFile = values.caFile ?? it.caFile;
  // A certificate authority without TLS can only be an oversight, so it turns verification on.
  const tls = values.tls ?? it.tls ?? (caFile === null ? "off" : "verify");
  const origin = values.caFile === null ? "sslrootcert" : settings.database.caFile.env;
  return {
    url: it.url,
    tls,
    ca: caFile === null || tls !== "verify" ? null : readCertificates(caFile, origin, sources),
  };
};

export const resolveDatabases = (values: DatabaseValues, sources: Sources): DatabaseTargets => {
  const of = (role: RoleName): DatabaseTarget | null => {
    const it = values[`${role}Url`] ?? values.url;
    return it === null ? null : targetOf(it, values, sources);
  };
  return {
    migrator: of("migrator"),
    purger: of("purger"),
    consumer: of("consumer"),
    producer: of("producer"),
  };
};

/**
 * The database of a role.
 * @throws PgstreamError `invalid_config` when none was given
 */
export const databaseFor = (targets: DatabaseTargets, role: RoleName): DatabaseTarget => {
  const target = targets[role];
  if (target !== null) return target;
  const own = settings.database[`${role}Url`].env;
  throw invalidConfig(
    `DATABASE_URL: not set: the ${role} needs it (or ${own}), e.g. DATABASE_URL=postgres://postgres:password@localhost:5432/eventsdb`,
  );
};
