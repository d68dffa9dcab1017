//! Very many topics: what a reader learns of them, and when; and what those with a retention of their own cost the purger.

import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { makePurging } from "../../src/adapters/postgres/purge/purge-log.ts";
import type { Purging } from "../../src/core/purge/purge-port.ts";
import {
  type CountedReader,
  type GrowthBench,
  openCountedReader,
  openGrowthBench,
  readOn,
  startGrowthServer,
} from "../support/growth-bench.ts";
import { liveThrough, type LogHistory, makeTopics } from "../support/growth-log.ts";
import { openMeter, total, type Work } from "../support/growth-meter.ts";
import { openTestClient } from "../support/log-database.ts";
import { dayMs } from "../support/purging.ts";
import { publish } from "../support/read-bench.ts";

const topics = 2_000;

describe("many topics", () => {
  let server: PostgresServer;
  let bench: GrowthBench;
  beforeAll(async () => {
    server = await startGrowthServer();
  });
  afterAll(async () => await server.close());
  beforeEach(async () => {
    bench = await openGrowthBench(server);
  });
  afterEach(async () => await bench[Symbol.asyncDispose]());

  /** What there is to read now: topics in the order of their events, and the work. */
  const readAll = async (reader: CountedReader): Promise<{ read: string[]; work: Work }> => {
    reader.take();
    const read: string[] = [];
    await readOn(reader, (batch) => {
      read.push(...batch.events.map((it) => it.topic));
      return "go on";
    });
    return { read, work: total(reader.take()) };
  };

  test("made by publishing while a wildcard is subscribed are all read, from their first event on", async () => {
    await using all = await openCountedReader(server, bench);
    await using some = await openCountedReader(server, bench, { topics: ["made.*"] });
    expect([await all.next(), await some.next()]).toEqual([null, null]);
    await bench.sql`
      select pgstream.publish((case when n % 2 = 0 then 'made.' else 'other.' end) || n, '{}', notify => false)
      from generate_series(1, ${topics}::integer) n`;
    await bench.sql`select pgstream.publish('made.one.more.level', '{}', notify => false)`;
    const made = Array.from({ length: topics / 2 }, (_, n) => `made.${2 * n + 2}`);
    expect((await readAll(some)).read).toEqual(made);
    expect((await readAll(all)).read).toHaveLength(topics + 1);
  });

  test("are learned once: a new one costs what it would cost among few", async () => {
    const costOfOneMore = async (name: string): Promise<Work> => {
      await using reader = await openCountedReader(server, bench, { topics: ["late.*"] });
      while ((await reader.next()) !== null);
      await publish(bench.sql, name);
      const { read, work } = await readAll(reader);
      expect(read).toEqual([name]);
      return work;
    };
    await publish(bench.sql, "late.1");
    await bench.sql`select pgstream.tick()`;
    const few = await costOfOneMore("late.2");
    await makeTopics(bench.sql, "n", topics);
    await makeTopics(bench.sql, "late.n", topics);
    await publish(bench.sql, "n.1");
    const many = await costOfOneMore("late.x");
    console.log(`a new topic: ${few.buffers} buffers among few, ${many.buffers} among ${2 * topics}`);
    expect(many.statements).toBe(few.statements);
    expect(many.rows).toBe(few.rows);
    expect(many.buffers).toBeLessThanOrEqual(few.buffers + 20);
  });

  const openCountedPurging = async () => {
    await using opening = new AsyncDisposableStack();
    const client = opening.use(openTestClient(bench.url));
    const meter = opening.use(await openMeter(client, server.url(), new URL(bench.url).pathname.slice(1)));
    const open = opening.move();
    const buffersOf = async (work: (purging: Purging) => Promise<unknown>): Promise<number> => {
      meter.take();
      await work(makePurging(meter.client));
      return total(meter.take()).buffers;
    };
    return { buffersOf, [Symbol.asyncDispose]: async () => await open.disposeAsync() };
  };
  const makeRetained = async (prefix: string, count: number, retention: string): Promise<void> => {
    await makeTopics(bench.sql, prefix, count);
    await bench.sql`
      update pgstream.topics set retention = ${retention}::text::interval where name like ${`${prefix}.%`}`;
  };
  const pass = async (time: string): Promise<void> => {
    await bench.sql`update pgstream.ticks set at = at - ${time}::text::interval`;
    await bench.sql`update pgstream.topic_looks set at = at - ${time}::text::interval`;
  };
  const log = {
    segments: 2,
    transactionsPerSegment: 1_000,
    eventsPerTransaction: 10,
    transactionsPerTick: 100,
  };

  test("with a longer retention, of which a segment holds none: it is looked through once for all of them", async () => {
    await makeTopics(bench.sql, "t", 1);
    await liveThrough(bench.sql, log);
    await pass("8 days");
    await using purging = await openCountedPurging();
    const find = async (): Promise<number> =>
      await purging.buffersOf(async (it) =>
        expect(await it.expiredSegments(7 * dayMs, { counted: false })).toHaveLength(1),
      );
    await makeRetained("long", 1, "30 days");
    await find();
    const one = await find();
    await makeRetained("longer", 20, "40 days");
    const many = await find();
    console.log(`finding a segment that has expired: ${one} buffers, ${many} with 20 topics more`);
    expect(many).toBeLessThan(one + 50);
  });

  test("with a shorter retention and nothing to trim: each looks through the log once", async () => {
    await makeTopics(bench.sql, "t", 1);
    await makeRetained("short", 5, "1 hour");
    await using purging = await openCountedPurging();
    const lookBehind = async (history: LogHistory): Promise<number> => {
      await liveThrough(bench.sql, history);
      await pass("2 hours");
      return await purging.buffersOf(async (it) => {
        const expired = await it.expiredTopics(7 * dayMs, { counted: false });
        for (const topic of expired) expect(await it.announceTopicPurge(topic)).toBeNull();
        expect(expired).toHaveLength(5);
      });
    };
    const little = { segments: 1, transactionsPerSegment: 1, eventsPerTransaction: 10 };
    await lookBehind(little);
    const few = await lookBehind(little);
    await lookBehind(log);
    const many = await lookBehind({ ...little, firstSegment: 1 });
    console.log(`looking for what is to trim: ${few} buffers among few events, ${many} behind many`);
    expect(many).toBeLessThan(few + 50);
  });
});
