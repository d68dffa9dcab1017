//! The one connection that is never trusted for longer than a deadline.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";

import { openClient, type PostgresClient } from "../../src/adapters/postgres/client.ts";
import { targetOf } from "../support/log-database.ts";
import { createTestDatabase, type TestDatabase } from "../support/postgres.ts";
import { type Hands, openHands } from "../support/sessions.ts";
import { answerStarting } from "../support/starting-server.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { makeTemporaryFolder } from "../support/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";

let database: TestDatabase;
let hands: Hands;
beforeAll(async () => {
  database = await createTestDatabase();
  hands = openHands(database.url);
}, 60_000);
afterAll(async () => {
  await hands[Symbol.asyncDispose]();
  await database.drop();
});

const open = (name: string, deadlineMs = 10_000, url = database.url): PostgresClient =>
  openClient(targetOf(url), { name, deadlineMs });

const failureOf = async (work: Promise<unknown>): Promise<unknown> =>
  await work.then(
    () => "it did not fail",
    (error: unknown) => error,
  );

const pidOf = async (client: PostgresClient): Promise<number> => {
  const [row] = await client.run((sql) => sql<{ pid: number }[]>`select pg_backend_pid() as pid`);
  return row?.pid ?? 0;
};

const lost = { code: "database_unavailable", retryable: true };

describe("a statement", () => {
  test("that takes too long fails, and the next one gets a connection of its own", async () => {
    await using client = open("slow");
    const before = await pidOf(client);
    expect(await failureOf(client.run((sql) => sql`select pg_sleep(30)`, 200))).toMatchObject(lost);
    expect(await pidOf(client)).not.toBe(before);
  });

  test("that the server refuses leaves the connection as it is", async () => {
    await using client = open("refused");
    const before = await pidOf(client);
    expect(await failureOf(client.run((sql) => sql`select 1 / 0`))).toMatchObject({
      code: "database_error",
      retryable: false,
      details: { sqlstate: "22012" },
    });
    expect(await pidOf(client)).toBe(before);
  });

  test("whose backend is killed fails at once, with all that were sent with it, and the next is answered", async () => {
    await using client = open("killed");
    const sent = Promise.all(
      [1, 2, 3].map(
        async (n) => await failureOf(client.run((sql) => sql`select pg_sleep(${20 + n}::integer)`)),
      ),
    );
    await waitFor(async () => (await hands.sessions("killed")).some((it) => it.state === "active"), {
      what: "it to run",
    });
    await hands.terminate("killed");
    expect(await sent).toMatchObject([lost, lost, lost]);
    expect(await pidOf(client)).toBeGreaterThan(0);
  });

  test("after its backend was killed while idle fails once at most", async () => {
    await using client = open("idle");
    for (let n = 0; n < 10; n += 1) {
      const before = await pidOf(client);
      await hands.terminate("idle");
      const next = await failureOf(pidOf(client));
      if (next !== "it did not fail") expect(next).toMatchObject(lost);
      expect(await pidOf(client)).not.toBe(before);
    }
  });

  test("on a silent connection ends with its deadline, and so does connecting anew, until somebody answers", async () => {
    const { hostname, port } = new URL(database.url);
    await using proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    await using client = open("silent", 300, proxy.through(database.url));
    await pidOf(client);
    proxy.goSilent();
    const startedAt = performance.now();
    for (let n = 0; n < 3; n += 1) expect(await failureOf(pidOf(client))).toMatchObject(lost);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    proxy.heal();
    expect(await pidOf(client)).toBeGreaterThan(0);
  });

  test("to somebody who hangs up, or to a port where nobody listens, fails at once and dials once", async () => {
    let dials = 0;
    const listener = createServer((socket) => {
      dials += 1;
      socket.on("error", () => {});
      socket.resume().end("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    listener.listen(0, "127.0.0.1", resolve);
    await promise;
    const url = new URL(database.url);
    url.host = `127.0.0.1:${(listener.address() as AddressInfo).port}`;
    await using client = open("nobody", 10_000, url.href);
    expect(await failureOf(pidOf(client))).toMatchObject(lost);
    expect(dials).toBe(1);
    const closed = Promise.withResolvers<void>();
    listener.close(() => closed.resolve());
    await closed.promise;
    expect(await failureOf(pidOf(client))).toMatchObject(lost);
  });
});

test("names in the URL are taken as they are called: database, user and password", async () => {
  const name = `${database.name} café/50%?`;
  const login = `${name} "o'me"@:`;
  const password = "p'w%:@/ \\?#&";
  const { sql } = hands;
  await sql`create database ${sql(name)} template template0`;
  await sql.unsafe(`create role "${login.replaceAll('"', '""')}" login password E'p\\'w%:@/ \\\\?#&'`);
  const { host } = new URL(database.url);
  const user = `${encodeURIComponent(login)}:${encodeURIComponent(password)}`;
  try {
    for (const hosts of [host, `${host},${host}`]) {
      const url = `postgres://${user}@${hosts}/${encodeURIComponent(name)}?target_session_attrs=primary`;
      await using client = open("names", 10_000, url);
      const rows = await client.run(
        (it) => it`select current_database()::text as database, session_user::text as login`,
      );
      expect([...rows]).toEqual([{ database: name, login }]);
    }
  } finally {
    await sql`drop database ${sql(name)} with (force)`;
    await sql`drop role ${sql(login)}`;
  }
});

const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((it) => it?.address === "::1");

/** The server's port under another address. */
const forwardFrom = async (at: { host: string; port: 0 } | { path: string }): Promise<Server> => {
  const { hostname, port } = new URL(database.url);
  const server = createServer((from) => {
    const to = connect(Number(port), hostname);
    from.pipe(to).pipe(from);
    for (const it of [from, to]) it.on("error", () => it.destroy());
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(at, resolve);
  await promise;
  return server;
};

describe("an address that is no name", () => {
  const asksThrough = async (host: string): Promise<void> => {
    const url = database.url.replace(new URL(database.url).host, host);
    await using client = open("address", 10_000, url);
    expect(await pidOf(client)).toBeGreaterThan(0);
  };

  test.if(hasIpv6)("but an IPv6 one is found", async () => {
    const server = await forwardFrom({ host: "::1", port: 0 });
    const { port } = server.address() as AddressInfo;
    await asksThrough(`[::1]:${port}`);
    server.close();
  });

  test("but a folder with a socket is found", async () => {
    await using folder = await makeTemporaryFolder("pgstream-socket-");
    const server = await forwardFrom({ path: join(folder.path, ".s.PGSQL.5433") });
    await asksThrough(`${encodeURIComponent(folder.path)}:5433`);
    server.close();
  });
});

describe("ending", () => {
  test("lets a statement that is on its way finish, and takes no more", async () => {
    const client = open("ending");
    await pidOf(client);
    const onItsWay = client.run((sql) => sql<{ n: number }[]>`select 1 as n from pg_sleep(0.3)`);
    await waitFor(async () => (await hands.sessions("ending")).some((it) => it.state === "active"), {
      what: "it to run",
    });
    await client.end();
    expect(await onItsWay).toMatchObject([{ n: 1 }]);
    expect(await failureOf(pidOf(client))).toMatchObject({ code: "database_unavailable", retryable: false });
    await client.end();
    await waitFor(async () => (await hands.sessions("ending")).length === 0, { what: "its session to end" });
  });

  test("waits for nobody on a silent connection", async () => {
    const { hostname, port } = new URL(database.url);
    await using proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    const client = open("silent end", 60_000, proxy.through(database.url));
    await pidOf(client);
    proxy.goSilent();
    const onItsWay = failureOf(pidOf(client));
    const startedAt = performance.now();
    await Promise.all([client.end(), client.end()]);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(await onItsWay).toMatchObject(lost);
  });
});

test("what the server says is told by code and by whether waiting helps", async () => {
  await using client = open("codes");
  const raised = {
    PS001: ["invalid_event", false],
    PS002: ["invalid_topic", false],
    PS003: ["unknown_topic", false],
    PS004: ["event_too_large", false],
    PS005: ["idempotency_conflict", false],
    PS006: ["publish_unknown", false],
    "22P02": ["invalid_event", false],
    "42501": ["permission_denied", false],
    "42P01": ["not_migrated", false],
    "25006": ["standby", true],
    "40001": ["database_error", true],
    "40P01": ["database_error", true],
    "55P03": ["database_error", true],
    "53100": ["database_error", true],
    "53300": ["database_error", true],
    "57014": ["database_error", true],
    "57P01": ["database_unavailable", true],
    "57P03": ["database_unavailable", true],
    "08006": ["database_unavailable", true],
    XX000: ["database_error", false],
  } as const;
  for (const [state, [code, retryable]] of Object.entries(raised)) {
    const failure = await failureOf(
      client.run((sql) => sql.unsafe(`do $$ begin raise sqlstate '${state}'; end $$`)),
    );
    expect(failure, state).toMatchObject({ code, retryable });
  }
});

test("where a right is missing the message says which group has it", async () => {
  await using client = open("rights");
  const role = `nobody_${database.name}`;
  await client.run((sql) => sql.unsafe(`create role ${role}; set role ${role}`).simple());
  try {
    const failure = await failureOf(client.run((sql) => sql`create table pg_catalog.mine ()`));
    expect(failure).toMatchObject({ code: "permission_denied", retryable: false });
    expect(failure).toMatchObject({
      message: expect.stringMatching(
        /permission denied for schema pg_catalog: to publish grant this login pgstream_producer/,
      ) as string,
    });
    const other = await failureOf(client.run((sql) => sql`create role another`));
    expect(other).toMatchObject({ message: expect.not.stringContaining("pgstream_") as string });
  } finally {
    await client.run((sql) => sql.unsafe(`reset role; drop role ${role}`).simple());
  }
});

test("a pooler that takes no settings of a session is told from a database that is away", async () => {
  const refusal = { state: "08P01", message: "unsupported startup parameter: statement_timeout" };
  await using pooler = await answerStarting({ port: 1, refusals: Infinity, refusal });
  await using client = openClient(targetOf(`postgres://nobody@127.0.0.1:${pooler.port}/app`), {
    name: "pooled",
    deadlineMs: 10_000,
  });
  expect(await failureOf(client.run((sql) => sql`select 1`))).toMatchObject({
    code: "database_unavailable",
    retryable: true,
    details: { sent: false },
    message: expect.stringMatching(/pooled: true.*wakeups: 'poll'.*verify WAKEUPS=poll/) as string,
  });
});
