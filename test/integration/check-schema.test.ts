//! What a role sees that looks while the migrator is between its last migration and the grants.

import { expect, test } from "bun:test";

import { checkSchema } from "../../src/adapters/postgres/check-server.ts";
import { migrations } from "../../src/adapters/postgres/migrate/migrations.ts";
import { PgstreamError } from "../../src/core/errors.ts";
import { createLogDatabase, openTestClient } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";

test("a login that has no rights yet is told to wait, and not that it may not", async () => {
  await using database = await createLogDatabase();
  await using client = openTestClient(database.url);
  await checkSchema(client, migrations.length);

  const login = `early_${database.name}`;
  await client.run((sql) => sql`create role ${sql(login)} nologin`);
  try {
    await client.run((sql) => sql`set role ${sql(login)}`);
    const error = await caught(checkSchema(client, migrations.length));
    expect(error).toBeInstanceOf(PgstreamError);
    expect(error).toMatchObject({ code: "not_migrated", retryable: true });
    await client.run((sql) => sql`reset role`);
    await client.run((sql) => sql`grant usage on schema pgstream to ${sql(login)}`);
    await client.run((sql) => sql`set role ${sql(login)}`);
    await checkSchema(client, migrations.length);
  } finally {
    await client.run((sql) => sql`reset role`);
    await client.run((sql) => sql`drop owned by ${sql(login)}`);
    await client.run((sql) => sql`drop role ${sql(login)}`);
  }
});
