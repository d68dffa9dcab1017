//! The migrator on real servers, as the owner of a database who is no superuser.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { applyMigrations } from "../../src/adapters/postgres/migrate/apply-migrations.ts";
import { makeMigrations, migrations } from "../../src/adapters/postgres/migrate/migrations.ts";
import { readSchemaVersion } from "../../src/adapters/postgres/schema-version.ts";
import { hasCode, isRetryable, messageOf } from "../../src/core/errors.ts";
import type { Migration } from "../../src/core/migration-plan.ts";
import {
  asUser,
  caught,
  connect,
  createOwnedDatabase,
  describeCatalog,
  dropOwnedDatabase,
  dropRoles,
  migrateAs,
  openMigratorClient,
  type OwnedDatabase,
  recordingLogger,
  stubbornly,
  untilRow,
} from "../support/migrator.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";

const apply = async (url: string, list: readonly Migration[]): Promise<number> => {
  await using client = openMigratorClient(url);
  const { logger } = recordingLogger();
  return await applyMigrations(client, list, { logger, signal: new AbortController().signal });
};

describeOnPostgres([15, 18], "the migrator", (version) => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startOwnServer({ version });
  }, 60_000);
  afterEach(async () => await dropRoles(server));
  afterAll(async () => await server.close());

  const withDatabase = async (use: (database: OwnedDatabase) => Promise<void>): Promise<void> => {
    const database = await createOwnedDatabase(server);
    try {
      await use(database);
    } finally {
      await dropOwnedDatabase(server, database);
    }
  };

  test("brings an empty database up to date, and finds nothing to do the second time", async () => {
    await withDatabase(async ({ url }) => {
      const first = recordingLogger();
      await migrateAs(url, { logger: first.logger });
      const before = await describeCatalog(url, "pgstream");
      expect(first.lines.filter((it) => it.includes("migration applied"))).toHaveLength(migrations.length);

      const second = recordingLogger();
      await migrateAs(url, { logger: second.logger });
      expect(second.lines).toEqual([]);
      expect(await describeCatalog(url, "pgstream")).toEqual(before);
      await using client = openMigratorClient(url);
      expect(await readSchemaVersion(client)).toBe(migrations.length);
      await using sql = connect(url);
      const [row] = await sql`select pgstream.publish('courses', '{}') as id`;
      expect(String(row?.["id"])).toBe("1");
    });
  });

  test("five at once do the work once", async () => {
    await withDatabase(async ({ url }) => {
      await using sql = connect(url);
      await sql`create table public.runs (number integer)`;
      const list = makeMigrations([
        [
          "0001_a.sql",
          "create table pgstream.a (); insert into public.runs values (1); select pg_sleep(0.1)",
        ],
        [
          "0002_b.sql",
          "create table pgstream.b (); insert into public.runs values (2); select pg_sleep(0.1)",
        ],
        ["0003_c.sql", "create table pgstream.c (); insert into public.runs values (3) -- the end"],
      ]);
      const applied = await Promise.all(Array.from({ length: 5 }, async () => await apply(url, list)));
      expect(applied.reduce((sum, it) => sum + it, 0)).toBe(3);
      const runs = await sql<{ number: number }[]>`select number from public.runs order by number`;
      expect(runs.map(({ number }) => number)).toEqual([1, 2, 3]);
    });
  });

  test("five whole migrators at once, on two databases of one cluster, all succeed", async () => {
    await withDatabase(async (one) => {
      await withDatabase(async (other) => {
        const urls = [one.url, other.url, one.url, other.url, one.url];
        await Promise.all(urls.map(async (url) => await stubbornly(async () => await migrateAs(url))));
        const catalogs = await Promise.all(
          [one, other].map(async ({ url }) => await describeCatalog(url, "pgstream")),
        );
        const anonymous = catalogs.map((lines) =>
          lines.map((it) => it.replaceAll(/owner_\d+/g, "owner")).sort(),
        );
        expect(anonymous[0]).toEqual(anonymous[1]);
      });
    });
  });

  test("a backend killed at any statement leaves nothing half done, and a second run completes", async () => {
    // Each `gate` is a place to die: it sleeps while the test says so, and the text stays the same.
    const gate = (at: number) =>
      `select pg_sleep(60) where exists (select from public.gates where at = ${at});`;
    const text = `
      ${gate(1)} create table pgstream.a (id integer primary key);
      ${gate(2)} insert into pgstream.a values (1);
      ${gate(3)} create function pgstream.f() returns integer language sql as 'select 1';
      ${gate(4)} create index on pgstream.a (id);
      ${gate(5)}`;
    const list = makeMigrations([
      ["0001_first.sql", "create table pgstream.first ()"],
      ["0002_second.sql", text],
    ]);
    const make = async (url: string): Promise<void> => {
      await using sql = connect(url);
      await sql`create table public.gates (at integer)`;
    };
    await withDatabase(async (fresh) => {
      await make(fresh.url);
      await apply(fresh.url, list);
      const expected = (await describeCatalog(fresh.url, "pgstream")).map((it) =>
        it.replaceAll(/owner_\d+/g, "owner"),
      );
      for (const at of [1, 2, 3, 4, 5]) {
        await withDatabase(async ({ url, adminUrl }) => {
          await make(url);
          await using admin = connect(adminUrl);
          await admin`insert into public.gates values (${at})`;
          const killed = caught(apply(url, list));
          await untilRow(
            admin,
            `select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and wait_event = 'PgSleep'`,
          );
          expect(isRetryable(await killed)).toBeTrue();
          const rows = await admin`select number from pgstream.migrations`;
          expect(rows).toHaveLength(1);
          expect(await admin`select from pg_class where oid = to_regclass('pgstream.a')`).toHaveLength(0);

          await admin`delete from public.gates`;
          expect(await apply(url, list)).toBe(1);
          const found = (await describeCatalog(url, "pgstream")).map((it) =>
            it.replaceAll(/owner_\d+/g, "owner"),
          );
          expect(found).toEqual(expected);
        });
      }
    });
  }, 60_000);

  test("a migrator that dies while its statement runs stops nobody: the next waits for it, then goes on", async () => {
    await withDatabase(async ({ url, adminUrl }) => {
      await using admin = connect(adminUrl);
      await admin`create table public.runs ()`;
      await admin`grant insert on public.runs to public`;
      const list = makeMigrations([
        [
          "0001_slow.sql",
          "create table pgstream.a (); insert into public.runs default values; select pg_sleep(1)",
        ],
      ]);
      const client = openMigratorClient(url);
      const dying = caught(
        applyMigrations(client, list, {
          logger: recordingLogger().logger,
          signal: new AbortController().signal,
        }),
      );
      await untilRow(
        admin,
        `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`,
      );
      const next = stubbornly(async () => await apply(url, list));
      await client.end();
      await dying;
      await next;
      expect(await admin`select from public.runs`).toHaveLength(1);
      expect(await admin`select from pgstream.migrations`).toHaveLength(1);
    });
  });

  test("a migration that fails is undone as a whole, and named", async () => {
    await withDatabase(async ({ url }) => {
      const list = makeMigrations([
        ["0001_good.sql", "create table pgstream.good ()"],
        ["0002_bad.sql", "create table pgstream.bad (); select 1 / 0; create table pgstream.never ()"],
      ]);
      const error = await caught(apply(url, list));
      expect(hasCode(error, "database_error")).toBeTrue();
      expect(isRetryable(error)).toBeFalse();
      expect(messageOf(error)).toContain("0002_bad.sql");
      await using sql = connect(url);
      const [row] = await sql`
        select (select count(*)::integer from pgstream.migrations) as rows,
          to_regclass('pgstream.good') is not null as good, to_regclass('pgstream.bad') is null as undone`;
      expect(row).toEqual({ rows: 1, good: true, undone: true });
    });
  });

  test("a table that somebody holds locked makes it give way at once, and try again", async () => {
    await withDatabase(async ({ url }) => {
      const first = ["0001_a.sql", "create table pgstream.a ()"] as const;
      await apply(url, makeMigrations([first]));
      const list = makeMigrations([first, ["0002_b.sql", "alter table pgstream.a add column b integer"]]);
      await using sql = connect(url);
      await sql.unsafe("begin; lock table pgstream.a");
      const error = await caught(apply(url, list));
      expect(isRetryable(error)).toBeTrue();
      await sql.unsafe("rollback");
      expect(await apply(url, list)).toBe(1);
    });
  });

  test("a database that is newer or was tampered with is refused, saying which file", async () => {
    await withDatabase(async ({ url }) => {
      const a = ["0001_a.sql", "create table pgstream.a ()"] as const;
      const b = ["0002_b.sql", "create table pgstream.b ()"] as const;
      await apply(url, makeMigrations([a, b]));
      const newer = await caught(apply(url, makeMigrations([a])));
      expect(hasCode(newer, "schema_newer")).toBeTrue();
      expect(messageOf(newer)).toContain("0002_b.sql");

      const changed = await caught(
        apply(url, makeMigrations([["0001_a.sql", "create table pgstream.z ()"], b])),
      );
      expect(hasCode(changed, "migration_tampered")).toBeTrue();
      expect(messageOf(changed)).toContain("0001_a.sql");

      await using sql = connect(url);
      await sql`delete from pgstream.migrations where number = 1`;
      const hole = await caught(apply(url, makeMigrations([a, b])));
      expect(hasCode(hole, "migration_tampered")).toBeTrue();
      expect(messageOf(hole)).toContain("0001_a.sql");
    });
  });

  test("a restore without comments is up to date again for everybody once the migrator has run", async () => {
    await withDatabase(async ({ url }) => {
      await migrateAs(url);
      await using sql = connect(url);
      await sql`comment on table pgstream.migrations is null`;
      await migrateAs(url);
      await using client = openMigratorClient(url);
      expect(await readSchemaVersion(client)).toBe(migrations.length);
    });
  });

  test("a new function is nobody's from the moment it exists", async () => {
    await withDatabase(async ({ url }) => {
      const text = "create function pgstream.f() returns integer language sql as 'select 1'";
      await apply(url, makeMigrations([["0001_f.sql", text]]));
      await using sql = connect(url);
      const [row] =
        await sql`select has_function_privilege('public', 'pgstream.f()', 'execute') as everybody`;
      expect(row).toEqual({ everybody: false });
    });
  });

  test("a migration cannot reach outside of the schema by accident", async () => {
    await withDatabase(async ({ url }) => {
      const error = await caught(apply(url, makeMigrations([["0001_a.sql", "create table astray ()"]])));
      expect(hasCode(error, "permission_denied")).toBeTrue();
    });
  });

  test("in an application's own database nothing outside the schema is touched", async () => {
    await withDatabase(async ({ url, adminUrl }) => {
      await using sql = connect(url);
      await sql.unsafe(`
        create table public.events (id serial primary key, note text);
        insert into public.events (note) values ('ours');
        create function public.publish() returns integer language sql as 'select 1';
        create schema app; create table app.topics ()`);
      const before = await describeCatalog(adminUrl, null);
      await migrateAs(url);
      expect(await describeCatalog(adminUrl, null)).toEqual(before);
      await using again = connect(url);
      const rows = await again<{ note: string }[]>`select note from events`;
      expect(rows.map(({ note }) => note)).toEqual(["ours"]);
    });
  });

  test("a dedicated database answers `select count(*) from events` in every new session", async () => {
    await withDatabase(async ({ url }) => {
      await migrateAs(url, { dedicatedDatabase: true });
      await using sql = connect(url);
      await sql`select pgstream.publish('courses', '{}')`;
      const [row] = await sql`select count(*)::integer as count from events`;
      expect(row).toEqual({ count: 1 });
      const { logger, lines } = recordingLogger();
      await migrateAs(url, { dedicatedDatabase: true, logger });
      expect(lines).toEqual([]);
    });
  });

  test("what publish() obeys is what was configured last", async () => {
    await withDatabase(async ({ url }) => {
      await migrateAs(url, {
        log: { createTopics: false, eventBytesMax: 10, idempotencyWindowMs: 90_061_001 },
      });
      await using sql = connect(url);
      const [row] = await sql`
        select create_topics, event_bytes_max, idempotency_window::text as idempotency_window from pgstream.settings`;
      expect(row).toEqual({ create_topics: false, event_bytes_max: 10, idempotency_window: "25:01:01.001" });
    });
  });

  test("what somebody else put there first is refused, also to a superuser, unless the login was given his rights", async () => {
    await withDatabase(async ({ name, url, adminUrl }) => {
      await using admin = connect(adminUrl);
      await using owner = connect(url);
      await owner.unsafe(
        `create role squatter login password 'secret'; grant create on database ${name} to squatter`,
      );
      await using squatter = connect(asUser(url, "squatter", "secret"));
      const squat = `
        create table pgstream.migrations (
          number integer primary key, file text, checksum text, applied_at timestamptz default now(), applied_by name default session_user);
        create function pgstream.seize() returns trigger language plpgsql as $$
          begin execute format('grant %I to squatter', current_user); return new; end $$;
        create trigger seize before insert on pgstream.migrations for each row execute function pgstream.seize();
        grant all on pgstream.migrations to public; grant all on schema pgstream to public`;
      const refused = async (object: string): Promise<void> => {
        for (const it of [url, adminUrl]) {
          const error = await caught(migrateAs(it));
          expect(hasCode(error, "permission_denied")).toBeTrue();
          expect(messageOf(error)).toStartWith(`${object} belongs to squatter`);
        }
      };
      try {
        await squatter.unsafe(`create schema pgstream; ${squat}`);
        await refused("schema pgstream");
        await admin`alter schema pgstream owner to current_user`;
        await refused("table pgstream.migrations");
        await admin`drop schema pgstream cascade`;
        await squatter`create schema pgstream`;
        await admin`grant squatter to postgres`;
        await migrateAs(adminUrl);
      } finally {
        await admin.unsafe("drop owned by squatter cascade; drop role squatter");
      }
    });
  });

  test("a superuser may migrate what the database's owner has migrated before", async () => {
    await withDatabase(async ({ url, adminUrl }) => {
      await migrateAs(url);
      const { logger, lines } = recordingLogger();
      await migrateAs(adminUrl, { logger });
      expect(lines).toEqual([]);
    });
  });

  test("a schema that an administrator made serves a user who may not make one", async () => {
    const database = await createOwnedDatabase(server, "createrole");
    try {
      await using admin = connect(database.adminUrl);
      const [owner] = await admin<{ name: string }[]>`
        select datdba::regrole::text as name from pg_database where datname = ${database.name}`;
      await admin.unsafe(`alter database ${database.name} owner to postgres`);
      const error = await caught(migrateAs(database.url));
      expect(hasCode(error, "permission_denied")).toBeTrue();
      const statement = `create schema pgstream authorization "${owner?.name}"`;
      expect(messageOf(error)).toContain(statement);
      await admin.unsafe(statement);
      await migrateAs(database.url);
    } finally {
      await dropOwnedDatabase(server, database);
    }
  });
});
