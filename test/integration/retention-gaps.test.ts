//! The promise *loud*: a subscription whose events were purged before it read them is told, through the real reader.

import { describe, expect, test } from "bun:test";

import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { decodeCursor, encodeCursor } from "../../src/core/cursor-codec.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import type { TopicGap } from "../../src/core/gap.ts";
import type { Log } from "../../src/core/log.ts";
import type { EventHandler } from "../../src/core/subscribe/event-handler.ts";
import { runSubscription } from "../../src/core/subscribe/subscribe.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { silent } from "../../src/library/defaults.ts";
import { openTestClient } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import { noTail } from "../support/no-tail.ts";
import { type Bench, dayMs, openBench, openTransaction } from "../support/purging.ts";
import { subscribe } from "../support/subscriber.ts";
import { openReader } from "../support/told-reader.ts";
import { waitFor } from "../support/wait-for.ts";

const retentionMs = 7 * dayMs;

/** Publishes, closes the segment, and lets retention pass over it. */
const fillSegment = async (log: Bench, courses: number, policies: number): Promise<void> => {
  await log.publish("courses", courses);
  await log.publish("policies", policies);
  await log.roll();
};

const purge = async (log: Bench): Promise<void> => {
  await log.pass("8 days");
  expect(await log.round()).toMatchObject({ segmentsEmptied: 1, failures: [] });
};

describe("a subscription that had read of a purged segment", () => {
  test("nothing is told exactly what is gone", async () => {
    await using log = await openBench();
    const reader = await openReader(makeLog(log.client));
    const before = reader.cursor();
    await fillSegment(log, 7, 3);
    await purge(log);
    const later = await log.publish("courses", 2);
    expect(await reader.read()).toEqual(later);
    expect(reader.told()).toEqual([
      { topic: "courses", events: 7, exact: true },
      { topic: "policies", events: 3, exact: true },
    ]);
    // While it is under way, nobody can say how much it will have removed.
    await log.sql`update pgstream.purges set done_at = null`;
    const during = await openReader(makeLog(log.client), before);
    await during.read();
    expect(during.told().map(({ exact }) => exact)).toEqual([false, false]);
  });

  test("some is told at most how much is gone", async () => {
    await using log = await openBench();
    const pages = { batchEventsMax: 4, pageEventsMax: 4 };
    const stopped = await openReader(makeLog(log.client), null, pages);
    await fillSegment(log, 7, 3);
    expect(await stopped.read(1)).toHaveLength(4);
    await purge(log);
    const reader = await openReader(makeLog(log.client), stopped.cursor(), pages);
    const later = await log.publish("courses", 2);
    expect(await reader.read()).toEqual(later);
    expect(reader.told()).toEqual([
      { topic: "courses", events: 7, exact: false },
      { topic: "policies", events: 3, exact: false },
    ]);
  });

  test("everything is told nothing", async () => {
    await using log = await openBench();
    const reader = await openReader(makeLog(log.client));
    await fillSegment(log, 7, 3);
    expect(await reader.read()).toHaveLength(10);
    await purge(log);
    const later = await log.publish("courses", 2);
    expect(await reader.read()).toEqual(later);
    expect(reader.told()).toEqual([]);
  });

  test("is told only of the topics it wants", async () => {
    await using log = await openBench();
    await log.publish("policies");
    const filter = parseTopicPatterns(["policies"]);
    const reader = await openReader(makeLog(log.client), null, { filter });
    await reader.read();
    await fillSegment(log, 7, 3);
    await purge(log);
    await reader.read();
    expect(reader.told().map(({ topic, events }) => [topic, events])).toEqual([["policies", 4]]);
  });
});

test("what runs on in the cursor, and in the purge's floor too, is no gap", async () => {
  await using log = await openBench();
  await log.setRetention("sessions", "1 hour");
  const reader = await openReader(makeLog(log.client));
  const first = await log.publish("sessions");
  const open = await openTransaction(log.url);
  await open.sql`select pg_current_xact_id()`;
  const handled = [...first, ...(await log.publish("sessions"))];
  expect(await reader.read()).toEqual(handled);
  await log.sql`select pg_current_xact_id()`;
  await log.pass("61 minutes");
  expect(await log.round()).toMatchObject({ eventsTrimmed: 2 });
  const later = await log.publish("courses");
  expect(await reader.read()).toEqual(later);
  expect(reader.told()).toEqual([]);
  await open.end("commit");
});

test("a subscription is told what was trimmed of a topic with a shorter retention", async () => {
  await using log = await openBench();
  await log.setRetention("sessions", "1 hour");
  const reader = await openReader(makeLog(log.client));
  const kept = [...(await log.publish("courses"))];
  await log.publish("sessions", 5);
  kept.push(...(await log.publish("courses")));
  await log.pass("2 hours");
  expect(await log.round()).toMatchObject({ eventsTrimmed: 5 });
  expect(await reader.read()).toEqual(kept);
  expect(reader.told()).toEqual([{ topic: "sessions", events: 5, exact: true }]);
  const fresh = await openReader(makeLog(log.client));
  expect(await fresh.read()).toEqual(kept);
  expect(fresh.told()).toEqual([]);
});

describe("a fresh subscription from earliest", () => {
  test("starts at the floor without a gap, with the first event that is there", async () => {
    await using log = await openBench();
    await fillSegment(log, 7, 3);
    await fillSegment(log, 1, 1);
    await log.pass("8 days");
    await log.round();
    const [first = 0n] = await log.publish("courses", 2);
    const reader = await openReader(makeLog(log.client));
    expect(await reader.read()).toEqual([first, first + 1n]);
    expect(reader.told()).toEqual([]);
  });

  test("is shown all of a long-lived topic behind a segment that went late", async () => {
    await using log = await openBench();
    await log.setRetention("archive", "30 days");
    await log.publish("courses", 3);
    await log.roll();
    const kept = await log.publish("archive", 3);
    await log.roll();
    // No purger ran for a week and more: RETENTION lies behind both segments, the archive's does not.
    await log.pass("8 days");
    await log.publish("courses");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1 });
    const reader = await openReader(makeLog(log.client));
    expect((await reader.read()).slice(0, 3)).toEqual([...kept]);
    expect(reader.told()).toEqual([]);
  });
});

test("a fresh subscription from earliest is shown what a transaction older than the floor wrote behind it", async () => {
  await using log = await openBench();
  await log.publish("courses");
  const early = await openTransaction(log.url);
  await early.sql`select pg_current_xact_id()`;
  await log.publish("courses"); // a later transaction, in the segment that goes
  await log.roll();
  const [row] = await early.sql<{ id: string }[]>`select pgstream.publish('courses', '{}') as id`;
  await early.end("commit");
  await purge(log);
  const [last = 0n] = await log.publish("courses");
  const reader = await openReader(makeLog(log.client));
  expect(await reader.read()).toEqual([BigInt(row?.id ?? 0), last]);
  expect(reader.told()).toEqual([]);
});

describe("ON_PURGED", () => {
  /** An application whose process may be restarted: its cursor survives. */
  const makeApplication = (log: Bench, onPurged: "stop" | "skip") => {
    let stored: string | null = null;
    const handled: bigint[] = [];
    const gaps: TopicGap[] = [];
    const handler: EventHandler = {
      cursor: async () => await Promise.resolve(stored),
      handle: async (events, { cursor }) => {
        handled.push(...events.map(({ id }) => id));
        stored = cursor;
        await Promise.resolve();
      },
    };
    /** Until it has caught up, or stops by itself; then the reason. */
    const run = async (): Promise<unknown> => {
      await using client = openTestClient(log.url);
      const stopping = new AbortController();
      const clock = makeClock();
      const options = {
        filter: parseTopicPatterns([">"]),
        from: { kind: "earliest" } as const,
        pollIntervalMs: 10_000,
        batchEventsMax: 100,
        pageEventsMax: 100,
        pageBytesMax: 2 ** 20,
        onPurged,
        onEpochChange: "stop" as const,
        handlerRetriesMax: 0,
        backoff: { delayMsMin: 1, delayMsMax: 2 },
        advanceIntervalMs: 60_000,
      };
      const events = {
        onLive: () => stopping.abort(),
        onHandle: () => {},
        onBatch: () => {},
        onRetry: () => {},
        onGap: (gap: readonly TopicGap[]) => void gaps.push(...gap),
      };
      const wakeups = { raise: () => {}, clear: () => {}, wait: async () => await Promise.resolve() };
      const ports = { log: makeLog(client), tail: noTail, wakeups, clock, random: () => 0.5, logger: silent };
      return await runSubscription({ handler, options, ports, events }, stopping.signal).catch(
        (error: unknown) => error,
      );
    };
    return { run, handled, gaps, stored: () => stored };
  };

  test("stop: the subscription ends with events_purged, and again after a restart, at the same cursor", async () => {
    await using log = await openBench();
    const application = makeApplication(log, "stop");
    await log.publish("courses", 2);
    expect(await application.run()).toBeUndefined();
    const before = application.stored();
    await fillSegment(log, 4, 1);
    await purge(log);
    await log.publish("courses", 3);
    for (let restart = 0; restart < 3; restart += 1) {
      expect(await application.run()).toMatchObject({ code: "events_purged", details: { gap: [{}, {}] } });
      expect(application.stored()).toBe(before);
      expect(application.handled).toHaveLength(2);
    }
  });

  test("skip: it goes on behind the gap and tells of it once, not again after a restart", async () => {
    await using log = await openBench();
    const application = makeApplication(log, "skip");
    await log.publish("courses", 2);
    expect(await application.run()).toBeUndefined();
    await fillSegment(log, 4, 1);
    await purge(log);
    const later = await log.publish("courses", 3);
    expect(await application.run()).toBeUndefined();
    expect(application.handled.slice(2)).toEqual([...later]);
    const told = application.gaps.map(({ topic, events }) => `${events} ${topic}`);
    // It had read 2 of the 6: an upper bound.
    expect(new Set(told)).toEqual(new Set(["6 courses", "1 policies"]));
    expect(application.gaps.find(({ topic }) => topic === "courses")?.exact).toBe(false);
    await log.publish("courses");
    expect(await application.run()).toBeUndefined();
    expect(application.gaps).toHaveLength(2);
    expect(application.handled).toHaveLength(6);
    expect(decodeCursor(application.stored() ?? "").purge).toBeGreaterThan(0n);
  });

  test("not given, to the library: it stops", async () => {
    await using log = await openBench();
    const [first = 0n] = await log.publish("courses");
    const before = subscribe({ database: log.url });
    await waitFor(() => before.ids.length === 1, { what: "the first event" });
    await before.subscription.stop();
    await fillSegment(log, 4, 1);
    await purge(log);
    await log.publish("courses");
    const unset: object = { onPurged: undefined };
    const after = subscribe({ database: log.url, since: before.cursor(), ...unset });
    expect(await caught(after.subscription.done)).toMatchObject({ code: "events_purged" });
    expect([...before.ids, ...after.ids]).toEqual([first]);
    expect(after.subscription.status()).toMatchObject({ state: "failed", code: "events_purged" });
  });
});

test("a purge announced while an earlier one is being told is told by itself, and neither of them twice", async () => {
  await using log = await openBench();
  const real = makeLog(log.client);
  await fillSegment(log, 5, 0);
  await log.pass("8 days");
  await fillSegment(log, 5, 0);
  await log.pass("1 day");
  expect(await log.round()).toMatchObject({ segmentsEmptied: 1, failures: [] });
  let isNext = false;
  const interrupted: Log = {
    ...real,
    purgedTopics: async (...request) => {
      if (!isNext) {
        isNext = true;
        await purge(log);
      }
      return await real.purgedTopics(...request);
    },
  };
  const { newest } = await real.epoch();
  const beginning: Cursor = { epoch: newest.id, purge: 0n, seen: newest.snapshot, window: null };
  const reader = await openReader(interrupted, beginning);
  expect(await reader.read()).toEqual([]);
  const course = { topic: "courses", events: 5, exact: true };
  expect(reader.told()).toEqual([course, course]);
});

describe("a purge that overtakes a page", () => {
  const setUp = async () => {
    const log = await openBench();
    await fillSegment(log, 7, 0);
    await log.pass("8 days");
    const [expired] = await log.purging.expiredSegments(retentionMs, { counted: false });
    if (expired === undefined) throw new Error("nothing has expired");
    return { log, expired };
  };

  /** The real log, except that the purge comes right before the first page. Calls go down in the order they are made. */
  const interrupt = (real: Log, purge: () => Promise<void>, after: () => Promise<void>): Log => {
    const sent = Promise.withResolvers<void>();
    let isPaging = false;
    return {
      ...real,
      firstPage: async (request) => {
        if (isPaging) return await real.firstPage(request);
        isPaging = true;
        await purge();
        const page = real.firstPage(request);
        sent.resolve();
        return await page;
      },
      look: async (request) => {
        if (!isPaging) return await real.look(request);
        await sent.promise;
        const look = await real.look(request);
        await after();
        return look;
      },
    };
  };

  test("is seen by the look behind it: the page is empty, and the reader says why", async () => {
    const { log, expired } = await setUp();
    await using _ = log;
    await using client = openTestClient(log.url);
    const emptying = await openTransaction(log.url);
    let committed: Promise<void> = Promise.resolve();
    const purge = async (): Promise<void> => {
      const announced = await log.purging.announceSegmentPurge(expired);
      await emptying.sql`select pgstream.empty_segment(${String(announced?.id)}::bigint)`;
      const isPageWaiting = async (): Promise<boolean> => {
        const rows = await log.sql`
          select from pg_locks
          where relation = 'pgstream.events_0'::regclass and mode = 'AccessShareLock' and not granted`;
        return rows.length > 0;
      };
      committed = waitFor(isPageWaiting, { what: "the page to wait for the truncation" }).then(
        async () => await emptying.end("commit"),
      );
    };
    const reader = await openReader(interrupt(makeLog(client), purge, async () => await committed));
    expect(await reader.read()).toEqual([]);
    expect(reader.told()).toEqual([{ topic: "courses", events: 7, exact: true }]);
  });

  test("is missed by a reader that asks in the snapshot of its page", async () => {
    const { log, expired } = await setUp();
    await using _ = log;
    await using client = openTestClient(log.url);
    // The bug, planted: one snapshot for the page and the look behind it.
    const purge = async (): Promise<void> => {
      await client.run((sql) => sql`begin isolation level repeatable read`);
      await client.run((sql) => sql`select pg_current_snapshot()::text`);
      const announced = await log.purging.announceSegmentPurge(expired);
      expect(await log.purging.emptySegment(announced?.id ?? 0n)).toBe(true);
    };
    const release = async (): Promise<void> => void (await client.run((sql) => sql`commit`));
    const reader = await openReader(interrupt(makeLog(client), purge, release));
    const start = reader.cursor();
    expect(await reader.read(1)).toEqual([]);
    // It has moved past seven events that it never saw, in silence.
    expect(reader.told()).toEqual([]);
    expect(reader.cursor().seen.xmax).toBeGreaterThan(start.seen.xmax);
  });
});

test("cursors that were stored keep what they know of purges", async () => {
  await using log = await openBench();
  const first = await openReader(makeLog(log.client));
  await fillSegment(log, 2, 0);
  await purge(log);
  await log.publish("courses");
  await first.read();
  expect(first.told()).toHaveLength(1);
  await using client = openTestClient(log.url);
  const restarted = await openReader(makeLog(client), decodeCursor(encodeCursor(first.cursor())));
  await log.publish("courses");
  expect(await restarted.read()).toHaveLength(1);
  expect(restarted.told()).toEqual([]);
});
