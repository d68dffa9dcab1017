import { describe, expect, test } from "bun:test";

import { readConfig } from "../../../src/config/config.ts";
import { databaseFor } from "../../../src/config/database-target.ts";
import type { Sources } from "../../../src/config/given.ts";
import { PgstreamError } from "../../../src/core/errors.ts";

interface Given {
  readonly flags?: Readonly<Record<string, string>>;
  readonly env?: Sources["env"];
  readonly files?: Readonly<Record<string, string>>;
}

const read = ({ flags = {}, env = {}, files = {} }: Given) =>
  readConfig({
    flags: new Map(Object.entries(flags)),
    env,
    readFile: (path) => {
      const content = files[path];
      if (content === undefined) throw new Error(`ENOENT: ${path}`);
      return content;
    },
  });

/** The one line that a user reads. */
const refusal = (given: Given): string => {
  try {
    read(given);
  } catch (error) {
    if (error instanceof PgstreamError && error.code === "invalid_config") return error.message;
    throw error;
  }
  throw new Error("was not refused");
};

const url = "postgres://postgres:password@localhost/eventsdb";
const certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

describe("where a value comes from", () => {
  test("a flag wins over the environment, the environment over the default", () => {
    const env = { POLL_INTERVAL: "3s" };
    expect(read({}).config.consumer.pollIntervalMs).toBe(1_000);
    expect(read({ env }).config.consumer.pollIntervalMs).toBe(3_000);
    expect(read({ env, flags: { "--poll-interval": "7s" } }).config.consumer.pollIntervalMs).toBe(7_000);
  });

  test("an empty variable counts as not set", () => {
    expect(read({ env: { POLL_INTERVAL: "", PORT: "", DATABASE_URL: "" } }).config).toEqual(read({}).config);
  });

  test("an empty flag does not", () => {
    expect(refusal({ flags: { "--topics": "" } })).toStartWith("--topics: ");
  });

  test("a switch in the environment can be off", () => {
    expect(read({ env: { DRY_RUN: "off" } }).config.purger.dryRun).toBeFalse();
    expect(read({ env: { DRY_RUN: "1" } }).config.purger.dryRun).toBeTrue();
  });

  test("a secret is read from a file too, without its last line break", () => {
    const env = { DATABASE_URL_FILE: "/run/secrets/url" };
    const { config, secrets } = read({ env, files: { "/run/secrets/url": `${url}\n` } });
    expect(databaseFor(config.database.targets, "consumer").url).toBe(url);
    expect(secrets).toEqual([url]);
  });

  test("a secret given both ways is refused", () => {
    expect(
      refusal({ env: { DATABASE_URL: url, DATABASE_URL_FILE: "/f" }, files: { "/f": url } }),
    ).toStartWith("DATABASE_URL: ");
  });

  test("a secret's file that is missing or empty is refused by its own name", () => {
    expect(refusal({ env: { DATABASE_URL_FILE: "/f" } })).toStartWith("DATABASE_URL_FILE: ");
    expect(refusal({ env: { DATABASE_URL_FILE: "/f" }, files: { "/f": "\n" } })).toStartWith(
      "DATABASE_URL_FILE: ",
    );
  });

  test("what is no secret has no file", () => {
    expect(read({ env: { TOPICS_FILE: "/nowhere" } }).config.consumer.topics).toEqual([
      "courses",
      "policies",
    ]);
  });
});

describe("a wrong value", () => {
  test.each([
    ["ROLES", "producer,reader"],
    ["ROLES", ","],
    ["PORT", "65536"],
    ["PORT", "http"],
    ["LOG_LEVEL", "loud"],
    ["DRY_RUN", "maybe"],
    ["DRY_RUN", "constructor"],
    ["POLL_INTERVAL", "5"],
    ["RETENTION", "-7 days"],
    ["RETENTION", "Infinity"],
    ["EVENT_BYTES_MAX", "lots"],
    ["BATCH_EVENTS_MAX", "0"],
    ["BATCH_EVENTS_MAX", "1.5"],
    ["TOPICS", "courses,bad topic"],
    ["SUBSCRIPTION", "a b"],
    ["FROM", "yesterday"],
    ["WAKEUPS", "sometimes"],
    ["DATABASE_TLS", "prefer"],
    ["STORE_URL", "redis://h/0"],
    ["DATABASE_URL", "postgres://h"],
  ])("of %s is one line that begins with the variable: %j", (name, value) => {
    const line = refusal({ env: { [name]: value } });
    expect(line).toStartWith(`${name}: `);
    expect(line).not.toContain("\n");
  });

  test("given by flag is blamed on the flag", () => {
    expect(refusal({ env: { POLL_INTERVAL: "1s" }, flags: { "--poll-interval": "5" } })).toStartWith(
      '--poll-interval: "5" ',
    );
  });

  test("is shown on one line even when it holds line breaks, and not at any length", () => {
    const line = refusal({ env: { LOG_LEVEL: `a\nb${"c".repeat(10_000)}` } });
    expect(line).not.toContain("\n");
    expect(line.length).toBeLessThan(250);
  });

  test("of a secret is never shown", () => {
    expect(refusal({ env: { STORE_URL: "mongodb://u:hush@hush@h/db" } })).not.toContain("hush");
    expect(refusal({ flags: { "--database-url": "postgres://u:hush@h" } })).not.toContain("hush");
  });
});

describe("what is given", () => {
  test("is listed for the log, with secrets starred", () => {
    const { given } = read({ env: { DATABASE_URL: url, TOPICS: "a" }, flags: { "--roles": "all" } });
    expect(given).toEqual({ DATABASE_URL: "***", TOPICS: "a", ROLES: "all" });
  });
});

describe("roles and ports", () => {
  const processOf = (env: Sources["env"]) => read({ env }).config.process;

  test("roles come in dependency order, once each", () => {
    expect(processOf({ ROLES: "producer, migrator,producer" }).roles).toEqual(["migrator", "producer"]);
    expect(processOf({ ROLES: "all" }).roles).toEqual(["migrator", "purger", "consumer", "producer"]);
    expect(processOf({}).roles).toEqual([]);
  });

  test.each([
    ["all", 1337],
    ["consumer", 1337],
    ["producer,purger", 1338],
    ["producer", 1338],
    ["purger", 1339],
    ["migrator,purger", 1339],
    ["migrator", null],
  ])("ROLES=%s listens on %p", (roles, port) => {
    expect(processOf({ ROLES: roles }).port).toBe(port);
  });

  test("a given port wins, except that the migrator alone opens none", () => {
    expect(processOf({ ROLES: "producer", PORT: "0" }).port).toBe(0);
    expect(processOf({ ROLES: "migrator", PORT: "8080" }).port).toBeNull();
    // Beside the purger, whose port it would ask for.
    expect(processOf({ ROLES: "purger", DRY_RUN: "on", PORT: "8080" }).port).toBeNull();
  });
});

describe("databases", () => {
  const own = "postgres://consumer@localhost/eventsdb";

  test("a role's own login wins over the common one", () => {
    const { targets } = read({ env: { DATABASE_URL: url, CONSUMER_DATABASE_URL: own } }).config.database;
    expect(databaseFor(targets, "consumer").url).toBe(own);
    expect(databaseFor(targets, "producer").url).toBe(url);
  });

  test("a role without one is told which variables to set", () => {
    const { targets } = read({ env: { CONSUMER_DATABASE_URL: own } }).config.database;
    expect(() => databaseFor(targets, "purger")).toThrow("PURGER_DATABASE_URL");
  });

  const tlsOf = (given: Given) => {
    const { tls, ca } = databaseFor(read(given).config.database.targets, "consumer");
    return { tls, ca };
  };
  const files = { "/ca": certificate };

  test("TLS is off unless somebody asks for it", () => {
    expect(tlsOf({ env: { DATABASE_URL: url } })).toEqual({ tls: "off", ca: null });
  });

  test("a certificate authority turns verification on", () => {
    const verified = { tls: "verify", ca: certificate } as const;
    expect(tlsOf({ env: { DATABASE_URL: url, DATABASE_CA_FILE: "/ca" }, files })).toEqual(verified);
    expect(tlsOf({ env: { DATABASE_URL: `${url}?sslrootcert=/ca` }, files })).toEqual(verified);
  });

  test("sslmode=require verifies, and DATABASE_TLS wins over the URL", () => {
    const env = { DATABASE_URL: `${url}?sslmode=require` };
    expect(tlsOf({ env })).toEqual({ tls: "verify", ca: null });
    expect(tlsOf({ env: { ...env, DATABASE_TLS: "no-verify" } }).tls).toBe("no-verify");
  });

  test("a file without a certificate is refused", () => {
    const env = { DATABASE_URL: url, DATABASE_CA_FILE: "/ca" };
    expect(refusal({ env, files: { "/ca": "hello" } })).toStartWith("DATABASE_CA_FILE: ");
    expect(refusal({ env })).toStartWith("DATABASE_CA_FILE: ");
  });
});

describe("the store", () => {
  test("is a file beside the process unless told otherwise", () => {
    expect(read({}).config.consumer.store).toEqual({ kind: "sqlite", path: "./pgstream-consumer.sqlite" });
  });

  test("takes its certificate authorities from a file, which makes no sense for SQLite", () => {
    const env = { STORE_URL: "mongodb://h/consumer", STORE_CA_FILE: "/ca" };
    expect(read({ env, files: { "/ca": certificate } }).config.consumer.store).toEqual({
      kind: "mongodb",
      url: "mongodb://h/consumer",
      ca: certificate,
    });
    expect(refusal({ env: { STORE_CA_FILE: "/ca" } })).toStartWith("STORE_CA_FILE: ");
  });
});

describe("logins", () => {
  const env = { ROLES: "migrator", CREATE_LOGINS: "on", PRODUCER_PASSWORD: "a", CONSUMER_PASSWORD: "b" };

  test("are made only when every password is there", () => {
    expect(refusal({ env })).toContain("PURGER_PASSWORD");
    expect(read({ env: { ...env, PURGER_PASSWORD: "c" } }).config.migrator.purgerPassword).toBe("c");
  });

  test("do not concern a process that plays no migrator", () => {
    expect(read({ env: { ...env, ROLES: "producer" } }).config.process.roles).toEqual(["producer"]);
  });
});
