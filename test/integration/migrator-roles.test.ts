//! Roles of the cluster: made by a login that may create roles but is no superuser, also when others are at it.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { groups } from "../../src/adapters/postgres/migrate/access.ts";
import type { Login } from "../../src/adapters/postgres/migrate/provision-roles.ts";
import { hasCode, messageOf } from "../../src/core/errors.ts";
import {
  asUser,
  caught,
  connect,
  createOwnedDatabase,
  dropOwnedDatabase,
  dropRoles,
  migrateAs,
  type OwnedDatabase,
  recordingLogger,
  stubbornly,
} from "../support/migrator.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";

const loginsWith = (password: string): readonly Login[] =>
  (["producer", "consumer", "purger"] as const).map((name) => ({
    name,
    group: `pgstream_${name}` as const,
    password: `${password} of '${name}' \\`,
  }));

describeOnPostgres([15, 18], "roles of the cluster", (version) => {
  let server: PostgresServer;
  const serverLog: string[] = [];
  beforeAll(async () => {
    server = await startOwnServer({
      version,
      settings: { log_statement: "all", log_min_duration_statement: 0, log_error_verbosity: "verbose" },
      onLog: (line) => serverLog.push(line),
    });
  }, 60_000);
  afterEach(async () => await dropRoles(server));
  afterAll(async () => await server.close());

  const withDatabase = async (
    rights: string,
    use: (database: OwnedDatabase) => Promise<void>,
  ): Promise<void> => {
    const database = await createOwnedDatabase(server, rights);
    try {
      await use(database);
    } finally {
      await dropOwnedDatabase(server, database);
    }
  };
  const whoAmI = async (url: string, user: string, password: string): Promise<unknown> => {
    await using sql = connect(asUser(url, user, password));
    return (await sql`select session_user::text as name`)[0]?.["name"];
  };

  /** Runs what the migrator asked an administrator for. */
  const doAsTold = async (admin: ReturnType<typeof connect>, error: unknown): Promise<void> => {
    expect(error).toMatchObject({ code: "permission_denied" });
    expect(messageOf(error)).not.toContain("SCRAM");
    if (!hasCode(error, "permission_denied")) return;
    for (const it of error.details["statements"] as readonly string[]) {
      expect(messageOf(error)).toContain(it);
      await admin.unsafe(it);
    }
  };

  test("groups have no login and no rights beyond their own", async () => {
    await withDatabase("createrole", async ({ url, adminUrl }) => {
      await migrateAs(url);
      await using admin = connect(adminUrl);
      const rows = await admin`
        select rolname::text as name, rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as more
        from pg_roles where rolname ~ '^pgstream_|^(producer|consumer|purger)$' order by rolname`;
      expect([...rows]).toEqual([...groups].sort().map((name) => ({ name, more: false })));
    });
  });

  test("logins are members of their groups and get in by password, the old one no more after a change", async () => {
    await withDatabase("createrole", async ({ url }) => {
      await migrateAs(url, { logins: loginsWith("first") });
      for (const { name, password } of loginsWith("first"))
        expect(await whoAmI(url, name, password)).toBe(name);
      await migrateAs(url, { logins: loginsWith("second") });
      for (const { name, password } of loginsWith("second"))
        expect(await whoAmI(url, name, password)).toBe(name);
      const old = await caught(whoAmI(url, "producer", loginsWith("first")[0]?.password ?? ""));
      expect(old).toMatchObject({ code: "28P01" });

      await using producer = connect(asUser(url, "producer", loginsWith("second")[0]?.password ?? ""));
      const [row] = await producer`select pgstream.publish('courses', '{}') is not null as published`;
      expect(row).toEqual({ published: true });
    });
  });

  test("passwords are neither in the server's log nor in ours", async () => {
    await withDatabase("createrole", async ({ url }) => {
      const { logger, lines } = recordingLogger();
      await migrateAs(url, { logins: loginsWith("hunter2"), logger });
      await migrateAs(url, { logins: loginsWith("hunter3"), logger });
      await whoAmI(url, "producer", loginsWith("hunter3")[0]?.password ?? "");
      const all = [...serverLog, ...lines].join("\n");
      expect(all).toContain("SCRAM-SHA-256$4096:"); // the log does hold these statements
      expect(all).toContain("login created");
      expect(all).not.toContain("hunter");
    });
  });

  test("two databases' migrators at once make the same roles once", async () => {
    await withDatabase("createrole", async (one) => {
      await withDatabase("createrole", async (other) => {
        for (let round = 0; round < 5; round += 1) {
          await Promise.all(
            [one.url, other.url, one.url].map(async (url) => {
              await stubbornly(async () => await migrateAs(url));
            }),
          );
        }
        await using admin = connect(one.adminUrl);
        const rows = await admin`select from pg_roles where rolname ~ '^pgstream_'`;
        expect(rows).toHaveLength(3);
      });
    });
  });

  test("groups of another database's migrator are used as they are", async () => {
    await withDatabase("createrole", async (one) => {
      await migrateAs(one.url);
      await withDatabase("", async (other) => await migrateAs(other.url));
    });
  });

  test("a user who may not create roles is told what an administrator must run, and that is enough", async () => {
    await withDatabase("", async ({ url, adminUrl }) => {
      const error = await caught(migrateAs(url));
      expect(hasCode(error, "permission_denied")).toBeTrue();
      if (!hasCode(error, "permission_denied")) return;
      const statements = error.details["statements"] as readonly string[];
      const owner = new URL(url).username;
      expect(statements).toEqual(
        groups.flatMap((it) => [`create role ${it} nologin`, `grant ${it} to "${owner}" with admin option`]),
      );
      for (const it of statements) expect(messageOf(error)).toContain(it);
      expect(messageOf(error)).not.toContain("to publish grant");
      await using admin = connect(adminUrl);
      for (const it of statements) await admin.unsafe(it);
      await migrateAs(url);
      // And it can go on as the README says.
      await admin.unsafe("create role my_app login password 'mine'");
      await using sql = connect(url);
      try {
        for (const it of groups) await sql.unsafe(`grant ${it} to my_app`);
        await using app = connect(asUser(url, "my_app", "mine"));
        const [row] = await app`select pgstream.publish('courses', '{}') is not null as published`;
        expect(row).toEqual({ published: true });
      } finally {
        await admin.unsafe("drop role my_app");
      }
    });
  });

  test("a login that is somebody else's keeps its password, and the conflict is told", async () => {
    await withDatabase("createrole", async ({ url, adminUrl }) => {
      await using admin = connect(adminUrl);
      await admin`create role producer login password 'theirs'`;
      const error = await caught(migrateAs(url, { logins: loginsWith("ours") }));
      expect(hasCode(error, "invalid_config")).toBeTrue();
      expect(messageOf(error)).toContain("producer");
      expect(messageOf(error)).not.toContain("ours of");
      expect(await whoAmI(url, "producer", "theirs")).toBe("producer");
    });
  });

  test("a login that an administrator made and put into its group is adopted, if the migrator may alter it", async () => {
    await withDatabase("createrole", async ({ url, adminUrl }) => {
      await migrateAs(url);
      await using admin = connect(adminUrl);
      await admin`create role producer login password 'theirs' in role pgstream_producer`;
      const error = await caught(migrateAs(url, { logins: loginsWith("ours") }));
      // Since PostgreSQL 16 CREATEROLE reaches only roles that one has been given ADMIN on.
      if (version === 15) expect(error).toBeNull();
      else {
        await doAsTold(admin, error);
        await migrateAs(url, { logins: loginsWith("ours") });
      }
      expect(await whoAmI(url, "producer", loginsWith("ours")[0]?.password ?? "")).toBe("producer");
    });
  });

  test("logins for a second owner's database are made, and keep being given passwords, once an administrator did as told", async () => {
    await withDatabase("createrole", async (one) => {
      await migrateAs(one.url);
      await withDatabase("createrole", async ({ url, adminUrl }) => {
        await using admin = connect(adminUrl);
        const error = await caught(migrateAs(url, { logins: loginsWith("first") }));
        if (version === 15) expect(error).toBeNull();
        else await doAsTold(admin, error);
        await migrateAs(url, { logins: loginsWith("second") });
        await migrateAs(url, { logins: loginsWith("third") });
        for (const { name, password } of loginsWith("third"))
          expect(await whoAmI(url, name, password)).toBe(name);
      });
    });
  });

  test("whoever may not create roles is told how to do without", async () => {
    await withDatabase("createrole", async (one) => {
      await migrateAs(one.url);
      await withDatabase("", async ({ url }) => {
        const error = await caught(migrateAs(url, { logins: loginsWith("ours") }));
        expect(hasCode(error, "permission_denied")).toBeTrue();
        for (const it of ["producer", "consumer", "purger"])
          expect(messageOf(error)).toContain(
            `create role "${it}" login password '…' in role pgstream_${it};`,
          );
        expect(messageOf(error)).toEndWith("; and turn CREATE_LOGINS off");
      });
    });
  });
});
