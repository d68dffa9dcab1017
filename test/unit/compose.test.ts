//! The compose file names what the scenarios promise, and only settings that exist.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { allSettings } from "../../src/config/settings.ts";

interface Service {
  readonly image: string;
  readonly ports?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: Readonly<Record<string, unknown>>;
  readonly restart?: string;
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

const root = join(import.meta.dir, "..", "..");
const text = await Bun.file(join(root, "docker-compose.yml")).text();
const { services, volumes } = Bun.YAML.parse(text) as Compose;
const known = new Set(allSettings.map(({ setting }) => setting.env));
const ours = Object.entries(services).filter(([, { image }]) => image.startsWith("pgstream"));

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
    const ports = Object.values(services)
      .flatMap((service) => service.ports ?? [])
      .map((port) => port.replaceAll(/\$\{\w+:-([^}]+)\}/g, "$1"));
    expect(ports.toSorted()).toEqual(["1337-1346:1337", "27017:27017", "5050:80", "5432:5432"]);
  });

  test.each(ours)("%s uses settings that exist", (_, { environment = {} }) => {
    expect(Object.keys(environment).filter((name) => !known.has(name))).toEqual([]);
  });

  test.each(ours.filter(([name]) => name !== "db_migrations"))(
    "%s waits for the migrations, and has a login of its own",
    (_, service) => {
      expect(service.depends_on?.["db_migrations"]?.condition).toBe("service_completed_successfully");
      expect(service.environment?.["DATABASE_URL"]).not.toContain("//postgres:");
    },
  );

  test.each(Object.entries(services))(
    "%s is pinned, restarts, and its data survive",
    (_, { image, restart, volumes: mounts = [] }) => {
      expect(image).toMatch(/:[\w.]+$/);
      expect(image).not.toEndWith(":latest");
      expect(restart).toBeDefined();
      for (const mount of mounts)
        expect(mount.startsWith("./") || (mount.split(":")[0] ?? "") in volumes).toBeTrue();
    },
  );

  test("every variable it takes has the default of .env.example", async () => {
    const example = new Map(
      [...(await Bun.file(join(root, ".env.example")).text()).matchAll(/^(\w+)=(.*)$/gm)].map(
        ([, name, value]) => [name, value],
      ),
    );
    for (const [, name, value] of text.matchAll(/\$\{(\w+):-([^}]+)\}/g))
      expect(example.get(name), name).toBe(value);
  });
});
