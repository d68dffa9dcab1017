//! Listening, and noticing when one has gone deaf. Hints are never needed; these tests are about having them all the same.

import { describe, expect, test } from "bun:test";

import { openClient } from "../../src/adapters/postgres/client.ts";
import { keepListening } from "../../src/adapters/postgres/wakeups.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import type { Logger } from "../../src/core/ports.ts";
import { makeWakeupFlag } from "../../src/core/wakeup-flag.ts";
import { silent } from "../../src/library/defaults.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { openSubscription, type SubscriptionOptions } from "../../src/library/subscription.ts";
import { targetOf } from "../support/log-database.ts";
import { useLog } from "../support/log-of-file.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { makeRandom } from "../support/seed.ts";
import { startTcpProxy, type TcpProxy, type TcpProxyOptions } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";

const log = useLog();

const clock = makeClock();

interface Listening extends AsyncDisposable {
  /** How many hints have come. */
  readonly hints: () => number;
  /** How often it has found itself deaf. */
  readonly deaf: () => number;
}

interface ListenOptions {
  readonly name: string;
  /** The way of the listening connection; the pings always go straight. */
  readonly by?: string;
}

const listenAs = ({ name, by = log.url }: ListenOptions): Listening => {
  let deaf = 0;
  let hints = 0;
  const flag = makeWakeupFlag(clock);
  const counted = {
    ...flag,
    raise: () => {
      hints += 1;
      flag.raise();
    },
  };
  const logger: Logger = {
    ...silent,
    warn: () => {
      deaf += 1;
    },
  };
  const pinger = openClient(targetOf(log.url), { name: `${name} pinger`, deadlineMs: 5_000 });
  const stopped = new AbortController();
  const listening = keepListening(
    {
      target: targetOf(by),
      onHint: counted.raise,
      ports: { clock, logger, random: () => 0, pinger },
      options: { name, pingIntervalMs: 100, pingDeadlineMs: 400 },
    },
    stopped.signal,
  );
  return {
    hints: () => hints,
    deaf: () => deaf,
    [Symbol.asyncDispose]: async () => {
      stopped.abort();
      await listening;
      await pinger.end();
    },
  };
};

/** Hints come through: a new one arrives for what is sent from now on. */
const hears = async (listening: Listening): Promise<void> => {
  const before = listening.hints();
  await waitFor(
    async () => {
      await log.hands.sql`select pg_notify('events', 'x')`;
      return listening.hints() > before;
    },
    { what: "a hint to be heard", deadlineMs: 20_000, pollIntervalMs: 50 },
  );
};

/** A subscription that remembers in memory, and what it has handled. */
const subscribeAs = (name: string, options: Partial<SubscriptionOptions> = {}) => {
  const handled: string[] = [];
  const subscription = openSubscription({
    database: log.url,
    name,
    topics: [name],
    ...options,
    cursor: async () => await Promise.resolve(null),
    handle: async (events) => {
      handled.push(...events.map((event) => event.json));
      await Promise.resolve();
    },
  });
  return { subscription, handled };
};

const startProxy = async (onChunk: TcpProxyOptions["onChunk"] = () => "pass"): Promise<TcpProxy> => {
  const { hostname, port } = new URL(log.url);
  return await startTcpProxy({ host: hostname, port: Number(port), onChunk });
};

describe("a listener", () => {
  test("wakes for a hint, and once for every time it connects", async () => {
    await using listening = listenAs({ name: "plain" });
    await waitFor(() => listening.hints() === 1, { what: "the hint of connecting" });
    await hears(listening);
    expect(listening.deaf()).toBe(0);
  });

  test("whose backend is killed, again and again, listens again, and takes each time for a hint", async () => {
    await using listening = listenAs({ name: "killed" });
    await waitFor(() => listening.hints() === 1, { what: "the hint of connecting" });
    for (let kills = 1; kills <= 5; kills += 1) {
      await waitFor(async () => (await log.hands.terminate("killed listener")) > 0, {
        what: "a backend to kill",
      });
      // Nothing was sent: the reconnect itself is what wakes.
      await waitFor(() => listening.hints() === kills + 1, { what: "the reconnect to be a hint" });
    }
    await hears(listening);
  });

  test("that the server idles out listens again", async () => {
    await log.hands.sql.unsafe(`alter database ${log.name} set idle_session_timeout = '200ms'`);
    try {
      await using listening = listenAs({ name: "idled" });
      // The pings are heard by others than the backend that idles, so each 200 ms ends another connection.
      await waitFor(() => listening.hints() >= 4, { what: "several reconnects", deadlineMs: 20_000 });
    } finally {
      await log.hands.sql.unsafe(`alter database ${log.name} reset idle_session_timeout`);
    }
    await using listening = listenAs({ name: "not idled" });
    await hears(listening);
  });

  test("whose connection is cut half-open finds itself deaf and connects anew", async () => {
    await using proxy = await startProxy();
    await using listening = listenAs({ name: "half-open", by: proxy.through(log.url) });
    await hears(listening);
    proxy.goSilent();
    await waitFor(() => listening.deaf() > 0, { what: "it to notice", deadlineMs: 20_000 });
    proxy.heal();
    await hears(listening);
  });

  test("that lands on another server, as after a failover, finds itself deaf each time, and comes back", async () => {
    await using elsewhere = await createTestDatabase();
    let isAstray = true;
    // The name of the database in the startup packet; both names have the same length.
    await using proxy = await startProxy((chunk, direction) => {
      const at = isAstray && direction === "to-server" ? chunk.indexOf(log.name) : -1;
      if (at >= 0) chunk.write(elsewhere.name, at);
      return "pass";
    });
    // LISTEN succeeds there, and hears nothing of ours.
    await using listening = listenAs({ name: "astray", by: proxy.through(log.url) });
    await waitFor(() => listening.deaf() >= 2, { what: "it to notice, each time", deadlineMs: 20_000 });
    isAstray = false;
    await hears(listening);
  });

  test("whose server is away keeps trying, and hears again when it is back", async () => {
    let refusals = 0;
    let isAway = true;
    await using proxy = await startProxy((_, direction) => {
      if (!isAway || direction === "to-client") return "pass";
      refusals += 1;
      return "reset";
    });
    await using listening = listenAs({ name: "away", by: proxy.through(log.url) });
    await waitFor(() => refusals >= 2, { what: "it to try again" });
    expect(listening.hints()).toBe(0);
    isAway = false;
    await hears(listening);
  });

  test("that is stopped at any moment leaves no session behind", async () => {
    for (let n = 0; n < 40; n += 1) {
      const listening = listenAs({ name: `stopped ${n}` });
      await clock.sleep(n / 4);
      await listening[Symbol.asyncDispose]();
    }
    const left = async (): Promise<number> => {
      const [row] = await log.hands.sql<{ n: number }[]>`
        select count(*)::int as n from pg_stat_activity where application_name like 'pgstream stopped %'`;
      return row?.n ?? -1;
    };
    await waitFor(async () => (await left()) === 0, { what: "all sessions to be gone" });
  });
});

describe("a subscription", () => {
  const tooLateMs = 600_000;

  test("misses no hint, whenever it comes: while it looks, while it handles, while it waits", async () => {
    const random = makeRandom("hints");
    const { subscription, handled } = subscribeAs("hinted", { pollIntervalMs: tooLateMs });
    await using _ = subscription;
    await waitFor(async () => (await log.hands.sessions("tail listener")).length > 0, {
      what: "it to listen",
    });
    for (let n = 0; n < 300; n += 1) {
      await log.hands.sql`select pgstream.publish('hinted', ${String(n)}::text::json)`;
      // Sometimes the next one is sent right behind, into whatever it is doing.
      if (random.chance(0.5)) continue;
      await waitFor(() => handled.length === n + 1, {
        what: `event ${n}, by its hint`,
        pollIntervalMs: random.integer(0, 2),
      });
    }
    await waitFor(() => handled.length === 300, { what: "the last one, by its hint" });
    expect(handled).toEqual(Array.from({ length: 300 }, (_, n) => String(n)));
  });

  test("finds what nobody hinted at when it polls", async () => {
    const { subscription, handled } = subscribeAs("unhinted", { pollIntervalMs: 50 });
    await using _ = subscription;
    for (let n = 0; n < 3; n += 1) {
      await log.hands.sql`select pgstream.publish('unhinted', ${String(n)}::text::json, notify => false)`;
      await waitFor(() => handled.length === n + 1, { what: "the poll" });
    }
  });

  test("told to poll opens no listening connection, and hears of everything by polling", async () => {
    const { subscription, handled } = subscribeAs("polling", { pollIntervalMs: 50, wakeups: "poll" });
    await using _ = subscription;
    for (let n = 0; n < 3; n += 1) {
      await log.hands.sql`select pgstream.publish('polling', ${String(n)}::text::json)`;
      await waitFor(() => handled.length === n + 1, { what: "the poll" });
    }
    expect(await log.hands.sessions("polling")).toHaveLength(1);
    expect(await log.hands.sessions("tail listener")).toEqual([]);
  });

  test("told to poll gives a pooler no settings of a session on any connection, and neither does a publisher that is told of it", async () => {
    let refused = 0;
    // As PgBouncer does with what it does not know.
    await using proxy = await startProxy((chunk, direction) => {
      if (direction === "to-client" || !chunk.includes("\0statement_timeout\0")) return "pass";
      refused += 1;
      return "reset";
    });
    const database = proxy.through(log.url);
    await using publisher = openPublisher({ database, name: "through", pooled: true });
    await publisher.publish({ topic: "through", data: 0 });
    const { subscription, handled } = subscribeAs("through", {
      database,
      pollIntervalMs: 50,
      wakeups: "poll",
    });
    await using _ = subscription;
    await waitFor(async () => (await log.hands.sessions("tail")).length > 0, {
      what: "it to share a reader",
    });
    await publisher.publish({ topic: "through", data: 1 });
    await waitFor(() => handled.length === 2, { what: "both events" });
    expect(refused).toBe(0);
  });
});
