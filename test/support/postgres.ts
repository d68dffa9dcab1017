//! Databases for tests. `await using db = await createTestDatabase()` is an empty database of the test's own on the server
//! of the run; `startOwnServer` is a whole server, for tests that restart, kill or misconfigure one.

import { describe, setDefaultTimeout, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { findBinaries } from "../../src/adapters/embedded-postgres/binaries.ts";
import {
  type PostgresServer,
  type ServerOptions,
  startServer,
} from "../../src/adapters/embedded-postgres/server.ts";
import { startJanitor } from "./janitor-process.ts";
import { openPostgresService, sharedServerSettings } from "./postgres-service.ts";
import { isCi, newRunId, sharedRun } from "./run-context.ts";
import { dropDatabase, namePrefix, urlOfDatabase, withAdmin } from "./run-databases.ts";

// For a test file run alone: a server may have to be started first, and bun's own 5 s are short for what restarts one.
// scripts/test.ts sets the same for all.
setDefaultTimeout(60_000);

interface Server {
  readonly adminUrl: string;
  readonly runId: string;
}

const openServer = async (): Promise<Server> => {
  const shared = sharedRun();
  if (shared !== null) return { adminUrl: shared.postgres.url, runId: shared.runId };
  const runId = newRunId();
  const service = await openPostgresService((line) => console.log(line));
  // An embedded server needs no closing here: its watchdog ends it with this process.
  if (service.outlivesRun) startJanitor({ PGSTREAM_JANITOR_POSTGRES_URL: service.url }, runId);
  return { adminUrl: service.url, runId };
};

let opened: Promise<Server> | undefined;
const server = async (): Promise<Server> => await (opened ??= openServer());

export interface TestDatabase extends AsyncDisposable {
  /** With the rights of the server's superuser, or of the user in PGSTREAM_TEST_DATABASE_URL. */
  readonly url: string;
  readonly name: string;
  /** Safe twice. Ends what is still connected. */
  readonly drop: () => Promise<void>;
}

/** A fresh, empty database. Drop it when done; what is forgotten goes at the end of the run. */
export const createTestDatabase = async (): Promise<TestDatabase> => {
  const { adminUrl, runId } = await server();
  const name = namePrefix(runId) + randomBytes(5).toString("hex");
  await withAdmin(adminUrl, async (sql) => await sql`create database ${sql(name)} template template0`);
  const drop = async (): Promise<void> => await dropDatabase(adminUrl, name);
  return { url: urlOfDatabase(adminUrl, name), name, drop, [Symbol.asyncDispose]: drop };
};

export type PostgresVersion = 15 | 18;

// 18 comes with our packages, 15 with Debian's.
const debianBinDir = (version: number): string => `/usr/lib/postgresql/${version}/bin`;

/** Null when it can be had here, else why not. */
export const whyNoPostgres = (version: PostgresVersion): string | null =>
  version === 18 || existsSync(join(debianBinDir(version), "postgres"))
    ? null
    : `PostgreSQL ${version} is not installed (${debianBinDir(version)}): apt-get install postgresql-${version}`;

/** A server of the test's own, on its own port and temporary data folder. Give it back by `await using` or `close()`. */
export const startOwnServer = async (
  options: Partial<ServerOptions> & { readonly version?: PostgresVersion } = {},
): Promise<PostgresServer> => {
  const { version = 18, ...rest } = options;
  const binaries =
    rest.binaries ?? (await findBinaries(version === 18 ? {} : { binDir: debianBinDir(version) }));
  const settings = { ...sharedServerSettings, ...rest.settings };
  return await startServer({ password: "password", ...rest, binaries, settings });
};

/** `describe`, but where something is lacking: then it is skipped by name with the reason, and fails in continuous integration. */
export const describeUnless = (reason: string | null, name: string, body: () => void): void => {
  if (reason === null) {
    describe(name, body);
  } else if (isCi()) {
    test(name, () => {
      throw new Error(reason);
    });
  } else {
    console.warn(`SKIPPED ${name}: ${reason}`);
    describe.skip(`${name}: ${reason}`, body);
  }
};

/** Once per version. */
export const describeOnPostgres = (
  versions: readonly PostgresVersion[],
  title: string,
  body: (version: PostgresVersion) => void,
): void => {
  for (const version of versions) {
    describeUnless(whyNoPostgres(version), `${title} (PostgreSQL ${version})`, () => body(version));
  }
};
