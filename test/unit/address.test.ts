//! Where a URL leads to, as the driver is told.

import { expect, test } from "bun:test";

import postgres from "postgres";

import { addressOf } from "../../src/adapters/postgres/address.ts";
import { driverOptions } from "../../src/adapters/postgres/client.ts";
import { targetOf } from "../support/log-database.ts";

test.each<readonly [string, object]>([
  ["postgres://me:secret@db.internal/app", { host: ["db.internal"], port: [5432], database: "app" }],
  ["postgres://[::1]:5433/app?application_name=a", { host: ["::1"], port: [5433], database: "app" }],
  [
    "postgres://me@one:1,[fe80::1]:2,three/app",
    { host: ["one", "fe80::1", "three"], port: [1, 2, 5432], database: "app" },
  ],
  [
    "postgres://me@%2Fvar%2Frun%2Fpostgresql:5433/app",
    {
      host: ["/var/run/postgresql"],
      port: [5433],
      path: "/var/run/postgresql/.s.PGSQL.5433",
      database: "app",
    },
  ],
  ["postgres://db/caf%C3%A9%20shop", { host: ["db"], port: [5432], database: "café shop" }],
  ["postgres://me:p%40ss@db", { host: ["db"], port: [5432] }],
  ["postgres:///app", { database: "app" }],
])("%s", (url, address) => {
  expect(addressOf(url)).toEqual(address);
});

test.each<readonly [string, readonly string[], readonly number[]]>([
  ["postgres://me@db/app", ["db"], [5432]],
  ["postgres://me@one:1,two/app", ["one", "two"], [1, 5432]],
  ["postgres:///app", ["elsewhere"], [6000]],
])("%s, where PGHOST and PGPORT lead elsewhere", (url, host, port) => {
  const { PGHOST, PGPORT } = process.env;
  Object.assign(process.env, { PGHOST: "elsewhere", PGPORT: "6000" });
  try {
    // It connects with its first query.
    const { options } = postgres(url, driverOptions(targetOf(url), { name: "test", deadlineMs: 1_000 }));
    expect([options.host, options.port]).toEqual([[...host], [...port]]);
  } finally {
    for (const [name, value] of Object.entries({ PGHOST, PGPORT })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
});
