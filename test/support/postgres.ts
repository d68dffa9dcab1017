//! Databases for tests. `await using db = await createTestDatabase()` is an empty database of the test's own on the server
//! of the run; `startOwnServer` is a whole server, for tests that restart, kill or misconfigure one.

import { describe, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
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

/** A state to start from, made once per run and then cloned, which is much quicker than making it again. */
export interface Template {
  /** Everything the result depends on, e.g. the text of the migrations. */
  readonly key: string;
  /** Brings an empty database into the state; must close its connections. */
  readonly prepare: (url: string) => Promise<void>;
}

export interface TestDatabase extends AsyncDisposable {
  /** With the rights of the server's superuser, or of the user in PGSTREAM_TEST_DATABASE_URL. */
  readonly url: string;
  readonly name: string;
  /** Safe twice. Ends what is still connected. */
  readonly drop: () => Promise<void>;
}

const ensureTemplate = async ({ adminUrl, runId }: Server, template: Template): Promise<string> => {
  const hash = createHash("sha256").update(template.key).digest("hex").slice(0, 12);
  const name = `${namePrefix(runId)}template_${hash}`;
  await withAdmin(adminUrl, async (sql) => {
    // Test processes of one run share templates; the lock ends with this connection.
    await sql`select pg_advisory_lock(hashtext(${name}))`;
    const found = await sql`select 1 from pg_database where datname = ${name}`;
    if (found.length > 0) return;
    // Renamed when complete, so that a preparation that was killed is not taken for a template.
    const draft = `${name}_${randomBytes(3).toString("hex")}`;
    await sql`create database ${sql(draft)} template template0`;
    try {
      await template.prepare(urlOfDatabase(adminUrl, draft));
      await sql`select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = ${draft}`;
      await sql`alter database ${sql(draft)} rename to ${sql(name)}`;
    } catch (error) {
      await dropDatabase(adminUrl, draft);
      throw error;
    }
  });
  return name;
};

const templates = new Map<string, Promise<string>>();

const templateName = async (on: Server, template: Template): Promise<string> => {
  const known = templates.get(template.key) ?? ensureTemplate(on, template);
  templates.set(template.key, known);
  return await known;
};

/** A fresh database: empty, or a clone of `template`. Drop it when done; what is forgotten goes at the end of the run. */
export const createTestDatabase = async (
  options: { readonly template?: Template } = {},
): Promise<TestDatabase> => {
  const on = await server();
  const name = namePrefix(on.runId) + randomBytes(5).toString("hex");
  const source = options.template === undefined ? "template0" : await templateName(on, options.template);
  await withAdmin(
    on.adminUrl,
    async (sql) => await sql`create database ${sql(name)} template ${sql(source)}`,
  );
  const drop = async (): Promise<void> => await dropDatabase(on.adminUrl, name);
  return { url: urlOfDatabase(on.adminUrl, name), name, drop, [Symbol.asyncDispose]: drop };
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

/**
 * `describe` once per version. One that is not installed is skipped by name with its reason, and fails in continuous
 * integration.
 */
export const describeOnPostgres = (
  versions: readonly PostgresVersion[],
  title: string,
  body: (version: PostgresVersion) => void,
): void => {
  for (const version of versions) {
    const reason = whyNoPostgres(version);
    const name = `${title} (PostgreSQL ${version})`;
    if (reason === null) {
      describe(name, () => body(version));
    } else if (isCi()) {
      test(name, () => {
        throw new Error(reason);
      });
    } else {
      console.warn(`SKIPPED ${name}: ${reason}`);
      describe.skip(`${name}: ${reason}`, () => body(version));
    }
  }
};
