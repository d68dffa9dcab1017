//! What a role sees that looks while the migrator is between its last migration and the grants, or whose login belongs to the
//! group of another role.

import { expect, test } from "bun:test";

import { checkSchema } from "../../src/adapters/postgres/check-server.ts";
import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import { access, type Group, groups } from "../../src/adapters/postgres/migrate/access.ts";
import { migrations } from "../../src/adapters/postgres/migrate/migrations.ts";
import { messageOf } from "../../src/core/errors.ts";
import { createLogDatabase, openTestClient } from "../support/log-database.ts";
import { caught, migrateAs } from "../support/migrator.ts";

const check = async (client: PostgresClient, group: Group): Promise<unknown> =>
  await caught(checkSchema(client, migrations.length, group));

test("a login that does not inherit its group's rights is told so, and what mends it", async () => {
  await using database = await createLogDatabase();
  await migrateAs(database.url);
  await using client = openTestClient(database.url);
  const login = `deaf ${database.name}`;
  const run = async (text: string): Promise<void> => {
    await client.run((sql) => sql.unsafe(text).simple());
  };
  await run(`create role "${login}" noinherit in role pgstream_purger; set role "${login}"`);
  try {
    const error = await check(client, "pgstream_purger");
    expect(error).toMatchObject({ code: "permission_denied", retryable: true });
    const [, statement = ""] = /: run "(.+)"$/.exec(messageOf(error)) ?? [];
    expect(statement).toContain(login);
    await run(`reset role; ${statement}; set role "${login}"`);
    expect(await check(client, "pgstream_purger")).toBeNull();
    expect(messageOf(await check(client, "pgstream_consumer"))).toContain("grant it pgstream_consumer");
  } finally {
    await run(`reset role; drop role "${login}"`);
  }
});

test("a login is told to wait, and for what, until it has the rights of its own role's group", async () => {
  await using database = await createLogDatabase();
  await using client = openTestClient(database.url);
  for (const group of groups) expect(await check(client, group)).toBeNull();

  const login = `early_${database.name}`;
  const run = async (text: string): Promise<void> => {
    await client.run((sql) => sql.unsafe(text).simple());
  };
  /** The groups whose work the login may do. */
  const fitFor = async (): Promise<readonly Group[]> => {
    await run(`set role ${login}`);
    const fit: Group[] = [];
    for (const group of groups) {
      const error = await check(client, group);
      if (error === null) fit.push(group);
      else {
        expect(error).toMatchObject({ code: "permission_denied", retryable: true });
        expect(messageOf(error)).toContain(`grant it ${group}`);
      }
    }
    await run("reset role");
    return fit;
  };
  await run(`create role ${login} nologin`);
  try {
    expect(await fitFor()).toEqual([]);
    await run(`grant usage on schema pgstream to ${login}`);
    expect(await fitFor()).toEqual([]);
    for (const group of groups) {
      for (const name of access[group].select) await run(`grant select on pgstream.${name} to ${login}`);
      for (const name of access[group].execute)
        await run(`do $$ declare f regprocedure; begin
          for f in select oid from pg_proc where pronamespace = 'pgstream'::regnamespace and proname = '${name}' loop
            execute format('grant execute on function %s to ${login}', f);
          end loop; end $$`);
      expect(await fitFor()).toEqual([group]);
      await run(`revoke all on all tables in schema pgstream from ${login}`);
      await run(`revoke all on all routines in schema pgstream from ${login}`);
    }
    await run(`revoke usage on schema pgstream from ${login}; grant select on pgstream.events to ${login}`);
    expect(await fitFor()).toEqual([]);
  } finally {
    await run(`reset role; drop owned by ${login}; drop role ${login}`);
  }
});
