//! Where a URL leads to, as the driver is told.

import { expect, test } from "bun:test";

import { addressOf } from "../../src/adapters/postgres/address.ts";

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
