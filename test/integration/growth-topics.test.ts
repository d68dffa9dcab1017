//! Very many topics: what a reader learns of them, and when.

import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import {
  type CountedReader,
  type GrowthBench,
  openCountedReader,
  openGrowthBench,
  readOn,
  startGrowthServer,
} from "../support/growth-bench.ts";
import { makeTopics } from "../support/growth-log.ts";
import { total, type Work } from "../support/growth-meter.ts";
import { publish } from "../support/read-bench.ts";

const topics = 2_000;

describe(`${topics} topics`, () => {
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
});
