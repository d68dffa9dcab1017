//! The role migrator and start-up order; and what every role asks of its server first.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { checkSchema, checkServer } from "../../src/adapters/postgres/check-server.ts";
import { migrations } from "../../src/adapters/postgres/migrate/migrations.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { readConfig } from "../../src/config/config.ts";
import { hasCode, isRetryable, messageOf } from "../../src/core/errors.ts";
import { migrator } from "../../src/roles/migrator.ts";
import type { RunningRole } from "../../src/roles/role.ts";
import {
  caught,
  connect,
  describeCatalog,
  migrateAs,
  openMigratorClient,
  recordingLogger,
  stubbornly,
  untilRow,
} from "../support/migrator.ts";
import { createTestDatabase, startOwnServer } from "../support/postgres.ts";
import { answerStarting } from "../support/starting-server.ts";
import { waitFor } from "../support/wait-for.ts";

const startRole = async (url: string, env: Readonly<Record<string, string>> = {}) => {
  const { config } = readConfig({
    flags: new Map(),
    env: { ROLES: "migrator", DATABASE_URL: url, ...env },
    readFile: () => "",
  });
  const stopping = new AbortController();
  const { logger, lines } = recordingLogger();
  const role = await migrator({ config, logger, clock: makeClock(), signal: stopping.signal });
  return { role, lines, abort: () => stopping.abort() };
};

const untilReason = async (role: RunningRole, reason: string): Promise<void> => {
  await waitFor(() => role.status().reason === reason, {
    what: `the reason "${reason}"`,
    deadlineMs: 30_000,
  });
};

describe("the role migrator", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startOwnServer();
  }, 60_000);
  afterAll(async () => await server.close());

  const freshDatabase = async (name: string): Promise<string> => {
    await using admin = connect(server.url());
    await admin.unsafe(`create database ${name}`);
    return server.url(name);
  };

  test("ends by itself when its work is done", async () => {
    const url = await freshDatabase("ends");
    const { role, lines } = await startRole(url, {
      DEDICATED_DATABASE: "on",
      CREATE_LOGINS: "on",
      PRODUCER_PASSWORD: "p1",
      CONSUMER_PASSWORD: "p2",
      PURGER_PASSWORD: "p3",
    });
    await role.done;
    await role.stop();
    expect(lines.at(-1)).toStartWith("info the database is up to date");
    await using sql = connect(url);
    expect((await sql`select count(*)::integer as count from events`)[0]).toEqual({ count: 0 });
    expect(await sql`select from pg_roles where rolname in ('producer', 'consumer', 'purger')`).toHaveLength(
      3,
    );
  });

  test("waits for a database that is down, says so once, and goes on when it is up", async () => {
    const url = await freshDatabase("down");
    await server.stop();
    const { role, lines } = await startRole(url);
    await untilReason(role, "waits: database_unavailable");
    await server.start();
    await role.done;
    expect(lines.filter((it) => it.startsWith("warn"))).toHaveLength(1);
    await using client = openMigratorClient(url);
    await checkSchema(client, migrations.length, "pgstream_consumer");
  });

  test("waits while the server says that it is starting up", async () => {
    const url = await freshDatabase("starting");
    await using proxy = await answerStarting({ port: server.port, refusals: 3 });
    const through = new URL(url);
    through.port = String(proxy.port);
    const { role } = await startRole(through.href);
    await role.done;
    expect(proxy.refused()).toBe(3);
  });

  test("waits for a name that is not known yet, until it is told to stop", async () => {
    const { role, abort } = await startRole("postgres://postgres:password@db.invalid:5432/eventsdb");
    await untilReason(role, "waits: database_unavailable");
    abort();
    await role.done;
    await role.stop();
  });

  test("does not wait for a database that does not exist, nor with a wrong password", async () => {
    const missing = await startRole(server.url("nowhere"));
    const error = await caught(missing.role.done);
    expect(isRetryable(error)).toBeFalse();
    expect(messageOf(error)).toContain("nowhere");

    const wrong = new URL(server.url());
    wrong.password = "wrong";
    const denied = await startRole(wrong.href);
    expect(isRetryable(await caught(denied.role.done))).toBeFalse();
  });

  test("whose backend is killed in the middle goes on by itself", async () => {
    const url = await freshDatabase("killed");
    await using admin = connect(url);
    // Somebody holds the lock that migrators take turns with; the role waits inside its first message.
    await admin`select pg_advisory_lock(1885827956, 1)`;
    const { role } = await startRole(url);
    for (let kills = 0; kills < 3; kills += 1) {
      await untilRow(
        admin,
        `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'pgstream migrator' and wait_event_type = 'Lock'`,
      );
    }
    await admin`select pg_advisory_unlock(1885827956, 1)`;
    await role.done;
    await using client = openMigratorClient(url);
    await checkSchema(client, migrations.length, "pgstream_consumer");
  }, 20_000);

  test("whose process is killed after any migration leaves a database that the next run completes", async () => {
    const whole = await freshDatabase("whole");
    await migrateAs(whole);
    const expected = await describeCatalog(whole, "pgstream");
    let killed = 0;
    for (let kept = 1; kept <= migrations.length; kept += 1) {
      const url = await freshDatabase(`kill_9_after_${kept}`);
      await using process = Bun.spawn(
        [globalThis.process.execPath, join(import.meta.dir, "../../src/main.ts")],
        {
          env: {
            PATH: globalThis.process.env["PATH"],
            ROLES: "migrator",
            DATABASE_URL: url,
            LOG_FORMAT: "json",
          },
          stdout: "pipe",
        },
      );
      let log = "";
      for await (const chunk of process.stdout.pipeThrough(new TextDecoderStream())) {
        log += chunk;
        if (log.split("migration applied").length > kept) process.kill("SIGKILL");
      }
      if ((await process.exited) !== 0) killed += 1;
      await stubbornly(async () => await migrateAs(url));
      expect(await describeCatalog(url, "pgstream")).toEqual(expected);
    }
    // After the last migration the process may be done before the signal reaches it.
    expect(killed).toBeGreaterThanOrEqual(migrations.length - 1);
  }, 30_000);

  test("five of them at once all end well", async () => {
    const url = await freshDatabase("five");
    const passwords = { PRODUCER_PASSWORD: "p1", CONSUMER_PASSWORD: "p2", PURGER_PASSWORD: "p3" };
    const start = async () => await startRole(url, { CREATE_LOGINS: "on", ...passwords });
    const roles = await Promise.all(Array.from({ length: 5 }, start));
    await Promise.all(roles.map(async ({ role }) => await role.done));
    const applied = roles.flatMap(({ lines }) => lines.filter((it) => it.includes("migration applied")));
    expect(applied).toHaveLength(migrations.length);
  }, 20_000);

  test("refuses a server that may lose what it confirmed, unless told otherwise", async () => {
    const url = await freshDatabase("unsafe");
    await using admin = connect(server.url());
    const become = async (name: string, value: "on" | "off"): Promise<void> => {
      await admin.unsafe(`alter system set ${name} = ${value}`);
      await admin.unsafe("select pg_reload_conf()");
      await untilRow(admin, `select 1 where current_setting('${name}') = '${value}'`);
    };
    for (const name of ["fsync", "full_page_writes", "synchronous_commit"]) {
      await become(name, "off");
      const { role } = await startRole(url);
      const error = await caught(role.done);
      expect(hasCode(error, "unsafe_durability")).toBeTrue();
      expect(messageOf(error)).toContain(name);
      const { role: told } = await startRole(url, { UNSAFE_DURABILITY: "on" });
      await told.done;
      await become(name, "on");
    }
  }, 20_000);

  test("refuses a database that takes any bytes for text, and warns of one that cannot hold every character", async () => {
    await using admin = connect(server.url());
    for (const encoding of ["SQL_ASCII", "LATIN1"])
      await admin.unsafe(`create database ${encoding} encoding ${encoding} locale 'C' template template0`);
    const { role } = await startRole(server.url("sql_ascii"));
    const error = await caught(role.done);
    expect(hasCode(error, "database_error")).toBeTrue();
    expect(messageOf(error)).toContain("encoding 'UTF8'");
    expect(await describeCatalog(server.url("sql_ascii"), "pgstream")).toEqual([]);
    const { role: other, lines } = await startRole(server.url("latin1"));
    await other.done;
    const [warning = "", ...more] = lines.filter((it) => it.startsWith("warn"));
    expect(warning).toContain("the database's encoding is not UTF8");
    expect(more).toEqual([]);
  }, 20_000);

  test("tells a database where nothing may be written from a standby", async () => {
    const url = await freshDatabase("read_only");
    await using admin = connect(server.url());
    await admin`alter database read_only set default_transaction_read_only = on`;
    const { role } = await startRole(url);
    const error = await caught(role.done);
    expect(hasCode(error, "database_error")).toBeTrue();
    expect(messageOf(error)).toStartWith("default_transaction_read_only is on");
    await using client = openMigratorClient(url);
    const refused = await caught(client.run((sql) => sql`create table t ()`));
    expect(messageOf(refused)).toContain("or default_transaction_read_only is on");
    const { logger } = recordingLogger();
    // Enough for whoever reads.
    await checkServer(client, { unsafeDurability: false, logger });
  });

  test("refuses a standby", async () => {
    await using standby = await startOwnServer();
    await standby.stop();
    await Bun.write(`${standby.dataDir}/standby.signal`, "");
    await standby.start();
    const { role } = await startRole(standby.url());
    const error = await caught(role.done);
    expect(hasCode(error, "standby")).toBeTrue();
  }, 60_000);
});

describe("checking the schema", () => {
  test("tells a database that was never migrated, one that lags behind, and one that is ahead", async () => {
    await using database = await createTestDatabase();
    await using client = openMigratorClient(database.url);
    const never = await caught(checkSchema(client, migrations.length, "pgstream_consumer"));
    expect(hasCode(never, "not_migrated")).toBeTrue();
    expect(isRetryable(never)).toBeTrue();
    await migrateAs(database.url);
    await checkSchema(client, migrations.length, "pgstream_consumer");
    expect(
      hasCode(await caught(checkSchema(client, migrations.length + 1, "pgstream_consumer")), "not_migrated"),
    ).toBeTrue();
    expect(
      hasCode(await caught(checkSchema(client, migrations.length - 1, "pgstream_consumer")), "schema_newer"),
    ).toBeTrue();
  });

  test("a well-kept server gives no warning", async () => {
    await using database = await createTestDatabase();
    await using client = openMigratorClient(database.url);
    const { logger, lines } = recordingLogger();
    await checkServer(client, { unsafeDurability: false, logger });
    expect(lines).toEqual([]);
  });
});
