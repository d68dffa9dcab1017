//! NOTIFY, from SQL and from the library: when it is sent, what it says, and that nothing depends on it.

import { beforeAll, describe, expect, test } from "bun:test";

import { openPublisher } from "../../src/library/publisher.ts";
import { migrate } from "../support/log-database.ts";
import { useLog } from "../support/log-of-file.ts";
import { startOwnServer } from "../support/postgres.ts";
import { type Hands, openHands } from "../support/sessions.ts";
import { subscribe } from "../support/subscriber.ts";
import { waitFor } from "../support/wait-for.ts";

const log = useLog();
beforeAll(async () => {
  await log.hands.sql`create table orders (id integer primary key)`;
}, 60_000);

const tooLateMs = 600_000;
const markers = { sent: 0 };

/** What arrives on channel `events` between here and `heard`, which returns when all sent before it has arrived. */
const listen = async (on: Hands = log.hands) => {
  const payloads: string[] = [];
  const listening = await on.sql.listen("events", (payload) => void payloads.push(payload));
  return {
    heard: async (): Promise<readonly string[]> => {
      // Notifications arrive in the order of their commits.
      const marker = `marker ${(markers.sent += 1)}`;
      await on.sql`select pg_notify('events', ${marker})`;
      await waitFor(() => payloads.includes(marker), { what: "the marker to arrive" });
      return payloads.filter((payload) => !payload.startsWith("marker "));
    },
    [Symbol.asyncDispose]: async () => await listening.unlisten(),
  };
};

const stored = async (topic: string): Promise<readonly string[]> => {
  const rows = await log.hands.sql<{ data: string }[]>`
    select e.data::text as data from pgstream.events e join pgstream.topics t on t.id = e.topic_id
    where t.name = ${topic} order by e.id`;
  return rows.map(({ data }) => data);
};

const orders = async (): Promise<readonly number[]> =>
  (await log.hands.sql<{ id: number }[]>`select id from orders order by id`).map(({ id }) => id);

describe("publish() inside a transaction of the application", () => {
  test("commits with its data, and its hint is sent with the commit and not before", async () => {
    await using listening = await listen();
    await log.hands.sql.begin(async (sql) => {
      await sql`insert into orders values (1)`;
      await sql`select pgstream.publish('outbox.kept', '{"order":1}')`;
      expect(await listening.heard()).toEqual([]);
      expect(await stored("outbox.kept")).toEqual([]);
    });
    expect(await listening.heard()).toEqual(["outbox.kept"]);
    expect(await stored("outbox.kept")).toEqual(['{"order":1}']);
    expect(await orders()).toEqual([1]);
  });

  test("rolls back with its data, and leaves neither event nor hint nor topic nor key behind", async () => {
    await using listening = await listen();
    const publish = log.hands.sql.begin(async (sql) => {
      await sql`insert into orders values (2)`;
      await sql`select pgstream.publish('outbox.gone', '{"order":2}', idempotency_key => 'two')`;
      throw new Error("changed my mind");
    });
    await publish.catch(() => {});
    expect(await listening.heard()).toEqual([]);
    expect(await stored("outbox.gone")).toEqual([]);
    expect(await orders()).toEqual([1]);
    // The key is free again, for other content too.
    await log.hands
      .sql`select pgstream.publish('outbox.gone', '{"order":"other"}', idempotency_key => 'two')`;
    expect(await stored("outbox.gone")).toEqual(['{"order":"other"}']);
  });

  test("rolled back to a savepoint, takes only what came after it", async () => {
    await log.hands.sql.begin(async (sql) => {
      await sql`select pgstream.publish('outbox.saved', '1')`;
      const inner = sql.savepoint(async (nested) => {
        await nested`select pgstream.publish('outbox.saved', '2')`;
        throw new Error("only this");
      });
      await inner.catch(() => {});
      await sql`select pgstream.publish('outbox.saved', '3')`;
    });
    expect(await stored("outbox.saved")).toEqual(["1", "3"]);
  });

  test("with notify => false sends no hint", async () => {
    await using listening = await listen();
    await log.hands.sql`select pgstream.publish('quiet', '1', notify => false)`;
    expect(await listening.heard()).toEqual([]);
    expect(await stored("quiet")).toEqual(["1"]);
  });

  test("mistake 9: event and hint are one commit, so that an idle subscription handles it at once", async () => {
    await using subscriber = subscribe({
      database: log.url,
      topics: ["one-commit"],
      pollIntervalMs: tooLateMs,
    });
    await waitFor(async () => (await log.hands.sessions("tail listener")).length > 0, {
      what: "it to listen",
    });
    await waitFor(() => subscriber.subscription.status().state === "live", { what: "it to be idle" });
    await log.hands.sql`select pgstream.publish('one-commit', '1')`;
    await waitFor(() => subscriber.json.length === 1, { what: "the event, by its hint" });
  });

  test("mistake 9: an event whose hint is lost, as when its publisher dies after the commit, waits for one poll", async () => {
    await using subscriber = subscribe({
      database: log.url,
      topics: ["lost-hint"],
      pollIntervalMs: 200,
    });
    await waitFor(() => subscriber.subscription.status().state === "live", { what: "it to be idle" });
    await log.hands.sql`select pgstream.publish('lost-hint', '1', notify => false)`;
    await waitFor(() => subscriber.json.length === 1, { what: "the poll", deadlineMs: 2_000 });
  });
});

describe("a hint", () => {
  const long = (n: number): string => `long.${String(n).padStart(5, "0")}.${"x".repeat(188)}`;
  const topics = (count: number): readonly string[] => Array.from({ length: count }, (_, n) => long(n));

  test("of the library names its topics, once for however many events", async () => {
    await using listening = await listen();
    {
      await using publisher = openPublisher({ database: log.url, name: "hinting" });
      await publisher.publish(Array.from({ length: 500 }, (_, n) => ({ topic: `named.${n % 2}`, data: n })));
    }
    expect(await listening.heard()).toEqual(["named.0,named.1"]);
  });

  test("that would name more topics than fit 7,900 bytes says '*', from the library and from SQL", async () => {
    await using listening = await listen();
    for (const count of [39, 40]) {
      const names = topics(count);
      const fits = names.join(",").length <= 7_900;
      expect(fits).toBe(count === 39);
      {
        await using publisher = openPublisher({ database: log.url, name: "many" });
        await publisher.publish(names.map((topic) => ({ topic, data: 1 })));
      }
      await log.hands.sql`
        select pgstream.publish_batch(${names.join("\u001E")}, ${names.map(() => "1").join("\u001E")})`;
      const expected = fits ? names.join(",") : "*";
      const heard = (await listening.heard()).slice(-2);
      expect(heard.map((payload) => payload.split(",").toSorted().join(","))).toEqual([expected, expected]);
    }
  });

  test("mistake 6: from a stranger, garbage or a flood, only wakes: nothing crashes, nothing is handled twice", async () => {
    let busy = 0;
    await using subscriber = subscribe({
      database: log.url,
      topics: ["besieged"],
      pollIntervalMs: tooLateMs,
      batchEventsMax: 5,
      work: async () => {
        busy += 1;
        expect(busy).toBe(1);
        await log.hands.sql`select 1`;
        busy -= 1;
      },
    });
    const garbage = [
      "",
      "{",
      '{"id":',
      "9".repeat(400),
      "null",
      "🙈\u0001\n",
      "besieged;drop table",
      "x".repeat(7_999),
    ];
    for (const payload of garbage) await log.hands.sql`select pg_notify('events', ${payload})`;
    const flood = log.hands.sql`
      do $$ begin for n in 1..20000 loop perform pg_notify('events', n::text); if n % 500 = 0 then commit; end if; end loop; end $$`.simple();
    const flooding = flood.execute();
    await using publisher = openPublisher({ database: log.url, name: "besieged" });
    const ids: bigint[] = [];
    for (let n = 0; n < 50; n += 1) ids.push(await publisher.publish({ topic: "besieged", data: n }));
    await flooding;
    await waitFor(() => subscriber.ids.length >= 50, { what: "all events" });
    expect(subscriber.ids).toEqual(ids);
    expect(subscriber.subscription.status()).toMatchObject({ state: "live", reason: null });
  }, 30_000);
});

test("a queue of notifications that is full stops SQL that notifies, and not the library", async () => {
  await using server = await startOwnServer({ settings: { max_notify_queue_pages: 64 } });
  await migrate(server.url());
  await using onServer = openHands(server.url());
  // A listener that stays in a transaction keeps the queue from being emptied.
  await using stuck = openHands(server.url());
  const session = await stuck.sql.reserve();
  await session`listen events`;
  await session`begin`;
  await session`select 1`;
  const fill = async (): Promise<string> => {
    try {
      for (let n = 0; n < 1_000; n += 1) {
        await onServer.sql`select pg_notify('events', rpad(n::text, 7000, 'x')) from generate_series(1, 100) n`;
      }
      return "not full";
    } catch (error) {
      return error instanceof Error && "code" in error ? String(error.code) : String(error);
    }
  };
  // program_limit_exceeded: too many notifications in the NOTIFY queue
  expect(await fill()).toBe("54000");
  const refused: unknown = await onServer.sql`select pgstream.publish('full', '0')`.catch(
    (error: unknown) => error,
  );
  expect(refused).toMatchObject({ code: "54000" });

  await using subscriber = subscribe({ database: server.url(), topics: ["full"], pollIntervalMs: 100 });
  await using publisher = openPublisher({ database: server.url(), name: "full" });
  const ids: bigint[] = [];
  for (let n = 0; n < 20; n += 1) ids.push(await publisher.publish({ topic: "full", data: n }));
  expect(publisher.status()).toMatchObject({ retrying: null, published: 20 });
  await waitFor(() => subscriber.ids.length >= 20, { what: "the events, by polling" });
  expect(subscriber.ids).toEqual(ids);
  await session`rollback`;
  session.release();
}, 60_000);
