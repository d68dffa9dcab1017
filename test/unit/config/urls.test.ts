import { describe, expect, test } from "bun:test";

import { databaseUrl } from "../../../src/config/database-url.ts";
import { storeUrl } from "../../../src/config/store-url.ts";

describe("a database URL", () => {
  test.each([
    "postgres://postgres:password@localhost:5432/eventsdb",
    "postgresql://localhost/eventsdb",
    "postgres://u:p%40ss@[::1]:5432/db",
    "postgres://u@one:5432,two:5433/db?target_session_attrs=primary",
    "postgres://u@%2Fvar%2Frun%2Fpostgresql/db",
    "postgres://u@%2Fvar%2Frun%2Fpostgresql:5433/caf%C3%A9%20shop",
  ])("%s is taken as it is", (url) => {
    expect(databaseUrl.parse(url)).toEqual({ value: { url, tls: null, caFile: null } });
  });

  test.each([
    "",
    "eventsdb",
    "mysql://localhost/db",
    "postgres://localhost",
    "postgres://localhost/",
    "postgres://u:p@ss@localhost/db",
    "postgres://u:p#ss@localhost/db",
    "postgres://u:p%ss@localhost/db",
    "postgres://localhost/50%",
    "postgres://localhost/caf%E9",
    "postgres://localhost:port/db",
    "postgres://localhost:99999/db",
    "postgres://localhost/db/more",
    "postgres://local host/db",
    "postgres://localhost/db?host=/var/run/postgresql",
    "postgres:///db?host=elsewhere",
  ])("%j is refused", (url) => {
    expect(databaseUrl.parse(url)).toHaveProperty("problem");
  });

  test.each([
    ["disable", "off"],
    ["require", "verify"],
    ["verify-ca", "verify"],
    ["verify-full", "verify"],
    ["no-verify", "no-verify"],
  ] as const)("with sslmode=%s means TLS %s, and the driver never sees it", (mode, tls) => {
    expect(databaseUrl.parse(`postgres://h/db?sslmode=${mode}&application_name=a`)).toEqual({
      value: { url: "postgres://h/db?application_name=a", tls, caFile: null },
    });
  });

  test.each(["prefer", "allow", "", "Require", "constructor"])(
    "with sslmode=%s is refused, because it could speak in the clear without saying so",
    (mode) => {
      expect(databaseUrl.parse(`postgres://h/db?sslmode=${mode}`)).toHaveProperty("problem");
    },
  );

  test("may name its certificate authorities; `system` are the system's", () => {
    expect(databaseUrl.parse("postgres://h/db?sslrootcert=/ca.pem")).toMatchObject({
      value: { url: "postgres://h/db", caFile: "/ca.pem" },
    });
    expect(databaseUrl.parse("postgres://h/db?sslrootcert=system")).toMatchObject({
      value: { caFile: null },
    });
  });

  test("may name the folder of a socket as a parameter", () => {
    expect(databaseUrl.parse("postgres://u@/db?host=/var/run/postgresql&application_name=a")).toMatchObject({
      value: { url: "postgres://u@%2Fvar%2Frun%2Fpostgresql/db?application_name=a" },
    });
  });

  test("with a parameter twice is refused: one of them might mean plain text", () => {
    expect(databaseUrl.parse("postgres://h/db?sslmode=disable&sslmode=verify-full")).toEqual({
      problem: "has the parameter sslmode twice: leave one",
    });
  });

  test.each(["sslcert", "sslkey", "channel_binding", "keepalives", "user", "port"])(
    "with %s is refused: the server would",
    (name) => {
      expect(databaseUrl.parse(`postgres://h/db?${name}=require`)).toHaveProperty("problem");
    },
  );

  test("never shows up in its own problem", () => {
    const parsed = databaseUrl.parse("postgres://u:hush@hush@h/db");
    expect(JSON.stringify(parsed)).not.toContain("hush");
  });
});

describe("a store URL", () => {
  test.each([
    ["sqlite:./a.sqlite", "./a.sqlite"],
    ["sqlite:/data/a.sqlite", "/data/a.sqlite"],
    ["sqlite:///data/a.sqlite", "/data/a.sqlite"],
    ["sqlite::memory:", ":memory:"],
  ])("%s is the file %s", (url, path) => {
    expect(storeUrl.parse(url)).toEqual({ value: { kind: "sqlite", path } });
  });

  test.each([
    "mongodb://mongo:password@webconsumerdb:27017/consumer?authSource=admin",
    "mongodb+srv://u:p@cluster.example.org/consumer",
    "mongodb://one:1,two:2/consumer?replicaSet=rs0",
  ])("%s is MongoDB", (url) => {
    expect(storeUrl.parse(url)).toEqual({ value: { kind: "mongodb", url } });
  });

  test.each([
    "",
    "sqlite:",
    "sqlite://a.sqlite",
    "mongodb://h",
    "mongodb://h/",
    "mongodb://u:p@ss@h/db",
    "redis://h/0",
    "./a.sqlite",
  ])("%j is refused", (url) => {
    expect(storeUrl.parse(url)).toHaveProperty("problem");
  });
});
