//! What the demo plays on: a PostgreSQL server of its own, a SQLite file, and settings under which everything that
//! happens in a week happens in a minute.

import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";

import { findBinaries } from "../adapters/embedded-postgres/binaries.ts";
import { startServer } from "../adapters/embedded-postgres/server.ts";
import { openClient } from "../adapters/postgres/client.ts";
import type { Config } from "../config/config.ts";
import { roleNames } from "../config/role-names.ts";

const databaseName = "eventsdb";
const statementTimeoutMs = 30_000;
const defaultPort = 1337;

/** Shorter than a newcomer's patience. */
const quick = {
  produceIntervalMs: 500,
  purger: { retentionMs: 5_000, segmentIntervalMs: 3_000, schedule: "*/2 * * * * *", dryRun: false },
};

export interface DemoStage extends AsyncDisposable {
  readonly config: Config;
  readonly postgresVersion: string;
  /** For psql. */
  readonly databaseUrl: string;
}

const configFor = (config: Config, databaseUrl: string, storePath: string): Config => {
  const target = { url: databaseUrl, tls: "off", ca: null } as const;
  return {
    ...config,
    process: { ...config.process, roles: roleNames, port: config.process.port ?? defaultPort },
    database: {
      ...config.database,
      targets: { migrator: target, producer: target, consumer: target, purger: target },
    },
    migrator: { ...config.migrator, dedicatedDatabase: true, createLogins: false },
    producer: {
      ...config.producer,
      intervalMs: Math.min(config.producer.intervalMs, quick.produceIntervalMs),
    },
    consumer: { ...config.consumer, store: { kind: "sqlite", path: storePath } },
    purger: { ...config.purger, ...quick.purger },
  };
};

/** Sets the stage; disposing it takes everything away again. */
export const setDemoStage = async (config: Config): Promise<DemoStage> => {
  await using opened = new AsyncDisposableStack();
  // Whoever is on this machine can reach the server, and a superuser's statements run programs.
  const password = randomBytes(12).toString("base64url");
  const server = opened.use(await startServer({ binaries: await findBinaries(), password }));
  {
    const target = { url: server.url(), tls: "off", ca: null } as const;
    await using client = openClient(target, { name: "demo", deadlineMs: statementTimeoutMs });
    await client.run((sql) => sql`create database ${sql(databaseName)}`);
  }
  const kept = opened.move();
  const databaseUrl = server.url(databaseName);
  // Beside the server's data, which a watchdog removes whatever ends us.
  const storePath = join(dirname(server.dataDir), "consumer.sqlite");
  return {
    config: configFor(config, databaseUrl, storePath),
    postgresVersion: server.version,
    databaseUrl,
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  };
};
