import { describe, expect, test } from "bun:test";

import type { RoleName } from "../../../src/config/role-names.ts";
import { PgstreamError } from "../../../src/core/errors.ts";
import { runRoles, type Scene } from "../../../src/roles/run.ts";
import { outcomeOf } from "../core/fakes.ts";
import { fakeContext, fakeRole, type FakeRole } from "./fake-role.ts";

const run = (
  fakes: Readonly<Partial<Record<RoleName, FakeRole>>>,
  env: Readonly<Record<string, string>> = {},
) => {
  const { context, ...control } = fakeContext(env);
  const scenes: { readonly isStopping: boolean; readonly status: Readonly<Record<string, string | null>> }[] =
    [];
  const waiters: (() => void)[] = [];
  const show = ({ roles, isStopping }: Scene): void => {
    scenes.push({ isStopping, status: Object.fromEntries(roles.map((it) => [it.name, it.status().reason])) });
    for (const wake of waiters.splice(0)) wake();
  };
  const entries = (Object.entries(fakes) as [RoleName, FakeRole][]).map(([name, { role }]) => ({
    name,
    load: async () => await Promise.resolve(role),
  }));
  const exitCode = runRoles(entries, context, show);
  /** Waits until the last thing shown is so. */
  const shows = async (wanted: Readonly<Record<string, string | null>>): Promise<void> => {
    while (!Bun.deepEquals(scenes.at(-1)?.status, wanted)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiters.push(resolve);
      await promise;
    }
  };
  return { ...control, exitCode, scenes, shows };
};

describe("a stop", () => {
  test("tells every role, drains it, and is a success", async () => {
    const consumer = fakeRole();
    const producer = fakeRole();
    const { exitCode, interrupt, shows, scenes } = run({ consumer, producer });
    await shows({ consumer: null, producer: null });
    interrupt();
    expect(await exitCode).toBe(0);
    expect(consumer.story).toEqual(["starts", "is told to stop", "stops"]);
    expect(producer.story).toEqual(["starts", "is told to stop", "stops"]);
    expect(scenes.some(({ isStopping }) => isStopping)).toBeTrue();
  });

  test("waits for the work in hand", async () => {
    const consumer = fakeRole({ drains: true });
    const { exitCode, interrupt, shows } = run({ consumer });
    await shows({ consumer: null });
    interrupt();
    await consumer.stopping;
    expect(Bun.peek.status(exitCode)).toBe("pending");
    consumer.drained();
    expect(await exitCode).toBe(0);
  });

  test("leaves behind what does not stop in time, names it, and is a failure", async () => {
    const consumer = fakeRole({ drains: true });
    const producer = fakeRole();
    const { exitCode, interrupt, shows, asleep, lines } = run(
      { consumer, producer },
      { SHUTDOWN_TIMEOUT: "3s" },
    );
    await shows({ consumer: null, producer: null });
    interrupt();
    const { ms, wake } = await asleep;
    expect(ms).toBe(3_000);
    await producer.stopping;
    wake();
    expect(await exitCode).toBe(1);
    expect(lines.find(({ level }) => level === "error")?.fields).toMatchObject({ roles: ["consumer"] });
  });

  test("ends a role that is still starting, which is no failure", async () => {
    const consumer = fakeRole({ waits: true });
    const { exitCode, interrupt, lines } = run({ consumer });
    await consumer.started;
    interrupt();
    expect(await exitCode).toBe(0);
    expect(lines.filter(({ level }) => level === "error")).toEqual([]);
  });

  test("that comes before the migrator is done starts nothing more", async () => {
    const migrator = fakeRole({ waits: true });
    const consumer = fakeRole();
    const { exitCode, interrupt } = run({ migrator, consumer });
    await migrator.started;
    interrupt();
    expect(await exitCode).toBe(0);
    expect(consumer.story).toEqual([]);
  });

  test("whose draining fails is a failure, logged once", async () => {
    const consumer = fakeRole({ stopFails: new PgstreamError("store_error", "cannot commit") });
    const { exitCode, interrupt, shows, lines } = run({ consumer });
    await shows({ consumer: null });
    interrupt();
    expect(await exitCode).toBe(1);
    expect(lines.filter(({ level }) => level === "error").map(({ fields }) => fields["code"])).toEqual([
      "store_error",
    ]);
  });
});

describe("the migrator", () => {
  test("goes first, to its end; the others say what they wait for", async () => {
    const migrator = fakeRole();
    const consumer = fakeRole();
    const { exitCode, interrupt, shows } = run({ migrator, consumer });
    await shows({ migrator: null, consumer: "waits for the migrator" });
    expect(consumer.story).toEqual([]);
    migrator.end();
    await consumer.started;
    await shows({ migrator: null, consumer: null });
    interrupt();
    expect(await exitCode).toBe(0);
  });

  test("alone ends the process with success", async () => {
    const migrator = fakeRole();
    const { exitCode } = run({ migrator });
    migrator.end();
    expect(await exitCode).toBe(0);
  });

  test("that fails ends the process, and the others never start", async () => {
    const migrator = fakeRole();
    const consumer = fakeRole();
    const { exitCode, lines } = run({ migrator, consumer });
    await migrator.started;
    migrator.fail(new PgstreamError("migration_tampered", "0001 was changed"));
    expect(await exitCode).toBe(1);
    expect(consumer.story).toEqual([]);
    expect(lines.find(({ level }) => level === "error")?.fields).toMatchObject({
      role: "migrator",
      code: "migration_tampered",
    });
  });
});

describe("a role that fails", () => {
  test("ends the process when it is the only one", async () => {
    const consumer = fakeRole();
    const { exitCode } = run({ consumer });
    await consumer.started;
    consumer.fail(new PgstreamError("events_purged", "3 of courses"));
    expect(await exitCode).toBe(1);
  });

  test("lets go of what it holds, and leaves the others running and itself unready", async () => {
    const consumer = fakeRole();
    const producer = fakeRole();
    const { exitCode, interrupt, shows } = run({ consumer, producer });
    await shows({ consumer: null, producer: null });
    consumer.fail(new PgstreamError("events_purged", "3 of courses"));
    await shows({ consumer: "failed: events_purged", producer: null });
    await consumer.stopping;
    expect(producer.story).toEqual(["starts"]);
    interrupt();
    expect(await exitCode).toBe(1);
  });

  test("and then fails to let go, is logged once, for what came first", async () => {
    const consumer = fakeRole({ stopFails: new PgstreamError("store_error", "cannot close") });
    const { exitCode, lines } = run({ consumer });
    await consumer.started;
    consumer.fail(new PgstreamError("events_purged", "3 of courses"));
    expect(await exitCode).toBe(1);
    const errors = lines.filter(({ level }) => level === "error");
    expect(errors.map(({ fields }) => fields["code"])).toEqual(["events_purged"]);
  });

  test("while starting is no different", async () => {
    const consumer = fakeRole({ broken: new TypeError("a bug") });
    const producer = fakeRole();
    const { exitCode, interrupt, shows, lines } = run({ consumer, producer });
    await shows({ consumer: "failed: internal", producer: null });
    expect(lines.filter(({ level }) => level === "error")).toHaveLength(1);
    interrupt();
    expect(await exitCode).toBe(1);
  });

  test("because of its settings ends the process with what is wrong with them, and the others are drained", async () => {
    const purger = fakeRole({ broken: new PgstreamError("invalid_config", "PURGE_SCHEDULE: not a pattern") });
    const producer = fakeRole();
    const { exitCode } = run({ purger, producer });
    expect(await outcomeOf(exitCode)).toBe("invalid_config");
    expect(producer.story.at(-1)).toBe("stops");
  });
});

test("the process ends with success when every role has ended by itself", async () => {
  const producer = fakeRole();
  const purger = fakeRole();
  const { exitCode, shows } = run({ producer, purger });
  await shows({ producer: null, purger: null });
  producer.end();
  purger.end();
  expect(await exitCode).toBe(0);
});
