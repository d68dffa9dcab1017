//! What an idle poll costs when everything has grown at once: a thousand segments, a million events, ten thousand topics
//! subscribed by name, a thousand transactions open elsewhere. Buffers and locks, not time.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import {
  type GrowthBench,
  openCountedReader,
  openGrowthBench,
  startGrowthServer,
} from "../support/growth-bench.ts";
import { liveThrough, makeTopics } from "../support/growth-log.ts";
import { total, type Work } from "../support/growth-meter.ts";
import { openCountedTail } from "../support/growth-tail.ts";
import { connect } from "../support/migrator.ts";
import { publish } from "../support/read-bench.ts";

const topicsMax = 10_000;
const openMax = 1_000;

describe("an idle poll", () => {
  let server: PostgresServer;
  let bench: GrowthBench;
  beforeAll(async () => {
    server = await startGrowthServer({ max_prepared_transactions: openMax });
    bench = await openGrowthBench(server);
  });
  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
    await server.close();
  });

  /** Transactions that stay open in another database: prepared ones need no connection to do so. */
  const openElsewhere = async (): Promise<void> => {
    await using elsewhere = connect(server.url());
    for (let n = 0; n < openMax; n += 1) {
      await elsewhere.unsafe(`begin; select pg_current_xact_id(); prepare transaction 'open ${n}'`);
    }
  };

  /** Of one poll by a reader that has been polling for a while. */
  const aloneOnce = async (topics: readonly string[]): Promise<Work> => {
    await using reader = await openCountedReader(server, bench, { topics, from: { kind: "latest" } });
    while ((await reader.next()) !== null);
    expect(await reader.next()).toBeNull();
    reader.take();
    expect(await reader.next()).toBeNull();
    return total(reader.take());
  };

  /** Of one poll by the tail that a process's subscriptions share. */
  const sharedOnce = async (topics: readonly string[]): Promise<Work> => {
    await using tail = await openCountedTail(server, bench, topics);
    await tail.poll();
    await tail.poll();
    tail.take();
    await tail.poll();
    const work = total(tail.take());
    // That it does read: an event of its own comes.
    await publish(bench.sql, "n.1");
    await tail.poll();
    expect(tail.handed()).toBe(1);
    return work;
  };

  const names = Array.from({ length: topicsMax - 1 }, (_, n) => `m.${n + 1}`);
  const subscribed: readonly (readonly string[])[] = [["n.1"], ["n.1", ...names], ["*.*"], [">"]];

  let alone: Work;
  let shared: Work;
  const million = { transactionsPerSegment: 99, eventsPerTransaction: 10_000, topics: topicsMax };
  const thousand = { transactionsPerSegment: 2, eventsPerTransaction: 10, topics: topicsMax };

  /** Each on top of those before it. */
  const stages: readonly { readonly what: string; readonly fill: () => Promise<void> }[] = [
    { what: `${topicsMax} topics`, fill: async () => await makeTopics(bench.sql, "m", topicsMax) },
    { what: "a million events", fill: async () => await liveThrough(bench.sql, { segments: 1, ...million }) },
    {
      what: "a thousand segments",
      fill: async () => await liveThrough(bench.sql, { firstSegment: 1, segments: 1_000, ...thousand }),
    },
    {
      what: `${openMax} transactions open elsewhere`,
      fill: async () => {
        await openElsewhere();
        await liveThrough(bench.sql, { segments: 1, ...thousand });
      },
    },
    {
      what: "four more segments since those were opened",
      fill: async () => await liveThrough(bench.sql, { firstSegment: 1_001, segments: 4, ...thousand }),
    },
  ];
  let filled = 0;
  const fillUpTo = async (stage: number): Promise<void> => {
    for (; filled <= stage; filled += 1) await stages[filled]?.fill();
    // As the purger leaves it: the last that happened is a tick.
    await publish(bench.sql, "n.1");
    await bench.sql`select pgstream.tick()`;
  };
  test("costs little to begin with", async () => {
    await publish(bench.sql, "n.1");
    await liveThrough(bench.sql, { segments: 1, transactionsPerSegment: 10, eventsPerTransaction: 1_000 });
    await publish(bench.sql, "n.1");
    alone = await aloneOnce(["n.1"]);
    shared = await sharedOnce(["n.1"]);
    expect(alone).toMatchObject({ statements: 1, rows: 1 });
    expect(shared.statements).toBe(1);
    for (const { buffers, locks } of [alone, shared]) {
      expect(buffers).toBeLessThan(40);
      expect(locks).toBeLessThan(40);
    }
  });

  for (const [stage, { what }] of stages.entries()) {
    for (const who of ["alone", "shared"] as const) {
      test(`touches no more buffers and takes no more locks ${who} with ${what}`, async () => {
        await fillUpTo(stage);
        const few = who === "alone" ? alone : shared;
        // In an index of many rows there is a level or two more.
        const most = {
          statements: few.statements,
          rows: few.rows,
          buffers: few.buffers + 8,
          // The tail's page has another plan when no topic in particular is wanted, and its bounds may be a few segments old: a
          // table and two indexes each.
          locks: few.locks + 7 + 4 * 3,
        };
        for (const topics of subscribed) {
          const work = await (who === "alone" ? aloneOnce : sharedOnce)(topics);
          const by = `${topics.length} patterns such as ${topics[0]}`;
          console.log(`${who}, ${what}, ${by}: ${work.buffers} buffers, ${work.locks} locks`);
          const buffers = Math.max(work.buffers, most.buffers);
          const locks = Math.max(work.locks, most.locks);
          expect({ by, ...work, buffers, locks }).toEqual({ by, ...most });
        }
      });
    }
  }
});
