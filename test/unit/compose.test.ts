//! The compose file, its `.env.example` and the image say what the scenarios promise, and only settings that exist.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { packageManager } from "../../package.json";
import { readConfig } from "../../src/config/config.ts";
import { allSettings } from "../../src/config/settings.ts";

interface Service {
  readonly image: string;
  readonly container_name?: string;
  readonly ports?: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly disable?: boolean; readonly test?: readonly string[] };
  readonly restart?: string;
  readonly stop_grace_period?: string;
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

const root = join(import.meta.dir, "..", "..");
const read = async (path: string): Promise<string> => await Bun.file(join(root, path)).text();

const text = await read("docker-compose.yml");
const dockerfile = await read("Dockerfile");
const withDefaults = text.replaceAll(/\$\{\w+:-(?<value>[^}]+)\}/g, "$<value>");
const { services, volumes } = Bun.YAML.parse(withDefaults) as Compose;
const ours = Object.entries(services).filter(([, { image }]) => image.startsWith("pgstream"));
const roles = ours.filter(([name]) => name !== "db_migrations");

describe("docker-compose.yml", () => {
  test("has the services of the scenarios", () => {
    expect(Object.keys(services).toSorted()).toEqual([
      "db",
      "db_migrations",
      "eventspurger",
      "pgadmin",
      "producer",
      "web_consumer",
      "webconsumerdb",
    ]);
  });

  test("publishes their ports", () => {
    const ports = Object.entries(services).flatMap(([name, it]) => (it.ports ?? []).map((at) => [name, at]));
    expect(Object.fromEntries(ports)).toEqual({
      db: "5432:5432",
      pgadmin: "5050:80",
      web_consumer: "1337:1337",
      webconsumerdb: "27017:27017",
    });
  });

  test("runs one role in each of our services", () => {
    expect(Object.fromEntries(ours.map(([name, { environment }]) => [name, environment["ROLES"]]))).toEqual({
      db_migrations: "migrator",
      producer: "producer",
      web_consumer: "consumer",
      eventspurger: "purger",
    });
  });

  test.each(ours)("%s is given settings that exist, with values that are taken", (_, { environment }) => {
    const known = new Set<string>(allSettings.map(({ setting }) => setting.env));
    expect(Object.keys(environment).filter((name) => !known.has(name))).toEqual([]);
    expect(() => readConfig({ flags: new Map(), env: environment, readFile: () => "" })).not.toThrow();
  });

  test.each(roles)("%s waits for the database and its migrations", (_, { depends_on: needs = {} }) => {
    expect(needs["db"]?.condition).toBe("service_healthy");
    expect(needs["db_migrations"]?.condition).toBe("service_completed_successfully");
  });

  test("gives each role a login of its own", () => {
    const logins = roles.map(([, { environment }]) => new URL(environment["DATABASE_URL"] ?? "").username);
    expect(logins.toSorted()).toEqual(["consumer", "producer", "purger"]);
  });

  test("connects with the passwords it hands out", () => {
    const migrator = services["db_migrations"]?.environment ?? {};
    for (const [, { environment }] of roles) {
      const { username, password } = new URL(environment["DATABASE_URL"] ?? "");
      expect(password, username).toBe(migrator[`${username.toUpperCase()}_PASSWORD`] ?? "none");
    }
    // The variable, not only its default.
    for (const login of ["PRODUCER", "CONSUMER", "PURGER"]) {
      expect(text).toContain(`//${login.toLowerCase()}:\${${login}_PASSWORD:-password}@`);
    }
  });

  test("lets every service restart, except the migrations, which end", () => {
    for (const [name, { restart }] of Object.entries(services)) {
      expect(restart, name).toBe(name === "db_migrations" ? "no" : "unless-stopped");
    }
  });

  test("leaves our services more time to stop than they take", () => {
    for (const [name, it] of ours) {
      const seconds = Number(/^(?<seconds>\d+)s$/.exec(it.stop_grace_period ?? "")?.groups?.["seconds"]);
      const { config } = readConfig({ flags: new Map(), env: it.environment, readFile: () => "" });
      expect(seconds * 1_000, name).toBeGreaterThan(config.process.shutdownTimeoutMs);
    }
  });

  test.each(Object.entries(services))("%s is pinned, can be scaled, and its data survive", (_, it) => {
    expect(it.image).toMatch(/:[\w.]+$/);
    expect(it.image).not.toEndWith(":latest");
    expect(it.container_name).toBeUndefined();
    for (const mount of it.volumes ?? [])
      expect(mount.startsWith("./") || (mount.split(":")[0] ?? "") in volumes, mount).toBeTrue();
  });

  test("checks the health of what others wait for", () => {
    const waitedFor = Object.values(services)
      .flatMap((it) => Object.entries(it.depends_on ?? {}))
      .filter(([, { condition }]) => condition === "service_healthy")
      .map(([name]) => name);
    expect(new Set(waitedFor)).toEqual(new Set(["db", "webconsumerdb"]));
    for (const name of waitedFor) expect(services[name]?.healthcheck?.test?.length, name).toBeGreaterThan(1);
  });

  test("takes variables whose defaults .env.example repeats, and no others", async () => {
    const example = [...(await read(".env.example")).matchAll(/^(?<name>\w+)=(?<value>.*)$/gm)];
    const taken = [...text.matchAll(/\$\{(?<name>\w+):-(?<value>[^}]+)\}/g)];
    const pairs = (matches: readonly RegExpExecArray[]) =>
      [...new Set(matches.map(({ groups }) => `${groups?.["name"]}=${groups?.["value"]}`))].toSorted();
    expect(pairs(taken)).toEqual(pairs(example));
  });
});

describe("Dockerfile", () => {
  test("builds with the Bun that the package asks for", () => {
    const used = [...dockerfile.matchAll(/npx -y (?<bun>bun@\S+)/g)].map(({ groups }) => groups?.["bun"]);
    expect(new Set(used)).toEqual(new Set([packageManager]));
  });

  test("is given every path it copies", async () => {
    const allowed = (await read(".dockerignore")).split("\n").filter((line) => line.startsWith("!"));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(?<paths>.+) \S+$/gm)].flatMap(
      ({ groups }) => groups?.["paths"]?.split(" ") ?? [],
    );
    expect(copied.map((path) => `!${path}`).toSorted()).toEqual(allowed.toSorted());
  });

  test("does not run as root", () => {
    expect(/^USER (?<user>\S+)$/m.exec(dockerfile)?.groups?.["user"]).toMatch(/^[1-9]\d*:[1-9]\d*$/);
  });
});
