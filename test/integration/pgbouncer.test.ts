//! Through a real PgBouncer, which hands out its connections to the server by the session, the transaction or the statement.

import { afterAll, beforeAll, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openClient, type PostgresClient } from "../../src/adapters/postgres/client.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { targetOf } from "../support/log-database.ts";
import { asUser, caught, connect, migrateAs } from "../support/migrator.ts";
import { type PgBouncer, startPgBouncer, whyNoPgBouncer } from "../support/pgbouncer.ts";
import { describeUnless, startOwnServer } from "../support/postgres.ts";
import { subscribe } from "../support/subscriber.ts";
import { waitFor } from "../support/wait-for.ts";

const logins = [
  { name: "producer", group: "pgstream_producer", password: "secret" },
  { name: "consumer", group: "pgstream_consumer", password: "secret" },
] as const;

const modes = ["session", "transaction", "statement"] as const;

describeUnless(whyNoPgBouncer(), "behind PgBouncer", () => {
  let server: PostgresServer;
  const statements: string[] = [];
  beforeAll(async () => {
    server = await startOwnServer({
      settings: { log_statement: "all" },
      onLog: (line) => void statements.push(line),
    });
    await migrateAs(server.url(), { logins });
  });
  afterAll(async () => await server.close());

  /** Few connections, so that clients share them; one that cannot be had is tried for again soon. */
  const startPooler = async (mode: (typeof modes)[number]): Promise<PgBouncer> =>
    await startPgBouncer(server, {
      pool_mode: mode,
      default_pool_size: mode === "session" ? 20 : 2,
      server_login_retry: 1,
    });
  const urlOf = (pooler: PgBouncer, login: "producer" | "consumer"): string =>
    pooler.through(asUser(server.url(), login, "secret"));
  const openPooled = (pooler: PgBouncer): PostgresClient =>
    openClient(targetOf(urlOf(pooler, "consumer")), {
      name: "pooled",
      deadlineMs: 5_000,
      ownConnection: false,
    });

  test.each(modes)("every event comes once and in order, whatever happens to it; by the %s", async (mode) => {
    await using pooler = await startPooler(mode);
    const topic = `of.${mode}`;
    const database = urlOf(pooler, "consumer");
    await using first = subscribe({ database, topics: [topic], wakeups: "poll" });
    await using second = subscribe({ database, topics: [topic], wakeups: "poll" });
    await using publisher = openPublisher({
      database: urlOf(pooler, "producer"),
      pooled: true,
      furtherLaneEventsMin: 5,
    });
    await using admin = connect(server.url());
    const disturbances = [
      async () => await pooler.command("reconnect"),
      async () =>
        void (await admin`select pg_terminate_backend(pid) from pg_stat_activity where usename in ('producer', 'consumer')`),
      async () => {
        await pooler.kill();
        await pooler.start();
      },
      async () => {
        // It would wait for the sessions' ends.
        if (mode === "session") return;
        await pooler.command("pause");
        await pooler.command("resume");
      },
    ];
    const ids: bigint[] = [];
    for (const disturb of disturbances) {
      const calls = Array.from({ length: 40 }, async (_, n) => {
        const draft = { topic, key: `k${n % 3}`, data: n };
        return n % 4 === 0 ? await publisher.publish([draft, draft]) : [await publisher.publish(draft)];
      });
      const [answers] = await Promise.all([Promise.all(calls), disturb()]);
      ids.push(...answers.flat());
    }
    await using sql = connect(urlOf(pooler, "producer"));
    const [row] = await sql
      .unsafe<{ id: string }[]>(`select pgstream.publish('${topic}', '1') as id`)
      .simple();
    ids.push(BigInt(row?.id ?? 0));
    const published = ids.toSorted((a, b) => Number(a - b));
    await waitFor(() => [first, second].every((it) => it.ids.length >= ids.length), { what: "every event" });
    for (const it of [first, second]) expect(it.ids).toEqual(published);
    // Each key's events in the order of the calls: each time its numbers grow.
    for (const key of [0, 1, 2]) {
      const numbers = first.json
        .slice(0, -1)
        .map(Number)
        .filter((n) => n % 3 === key);
      expect(numbers.filter((n, at) => n < (numbers[at - 1] ?? 0))).toHaveLength(disturbances.length - 1);
    }
  });

  test.each(modes)("a statement is answered behind one that has no values; by the %s", async (mode) => {
    await using pooler = await startPooler(mode);
    await using client = openPooled(pooler);
    for (let n = 0; n < 20; n += 1) {
      const answers = [
        client.run((sql) => sql`select now()`),
        client.run((sql) => sql`select ${n}::integer as n`),
      ];
      expect((await Promise.all(answers))[1]).toEqual([{ n }] as never);
    }
  });

  test("nothing is set anew before each transaction", async () => {
    await using pooler = await startPooler("transaction");
    await using client = openPooled(pooler);
    const from = statements.length;
    for (let n = 0; n < 10; n += 1) await client.run((sql) => sql`select ${n}::integer as n`);
    await client.run((sql) => sql`select 'the last'`);
    await waitFor(() => statements.slice(from).some((it) => it.includes("the last")), { what: "the log" });
    expect(statements.slice(from).filter((it) => /set datestyle/i.test(it)).length).toBeLessThan(2);
  });

  test("who needs a session is told so, and that nothing was published", async () => {
    await using pooler = await startPooler("session");
    await using subscriber = subscribe({ database: urlOf(pooler, "consumer") });
    await using publisher = openPublisher({ database: urlOf(pooler, "producer") });
    const failure = caught(publisher.publish({ topic: "t", data: 1 }));
    await waitFor(() => subscriber.subscription.status().reason?.includes("wakeups: 'poll'"), {
      what: "why",
    });
    await waitFor(() => publisher.status().retrying?.includes("pooled: true"), { what: "why" });
    await publisher.close(0);
    expect(await failure).toMatchObject({ code: "database_unavailable" });
  });
});
