//! What it costs to catch up on a long log: the same for each stretch of it, from the first to the last.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import {
  type CountedReader,
  type CountedReaderOptions,
  type GrowthBench,
  openCountedReader,
  openGrowthBench,
  readOn,
  startGrowthServer,
} from "../support/growth-bench.ts";
import { liveThrough, makeTopics } from "../support/growth-log.ts";
import { total, type Work } from "../support/growth-meter.ts";

const segments = 300;
const windowsPerSegment = 5;
const windows = segments * windowsPerSegment;
const eventsPerWindow = 40;
const events = windows * eventsPerWindow;
const topics = 10_000;

/** What one statement may lock: a few small tables of ours, and two segments with their indexes. */
const locksMax = 32;

const mostLocks = (works: readonly Work[]): number => Math.max(...works.map((it) => it.locks));
const meanBuffers = (works: readonly Work[]): number => total(works).buffers / works.length;

describe(`a log of ${segments} segments, ${windows} ticks and ${topics} topics`, () => {
  let server: PostgresServer;
  let bench: GrowthBench;
  beforeAll(async () => {
    server = await startGrowthServer();
    bench = await openGrowthBench(server);
    await makeTopics(bench.sql, "n", topics);
    await liveThrough(bench.sql, {
      segments,
      transactionsPerSegment: windowsPerSegment,
      eventsPerTransaction: eventsPerWindow,
      topics,
    });
  });
  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
    await server.close();
  });

  const openReader = async (options: CountedReaderOptions): Promise<CountedReader> =>
    await openCountedReader(server, bench, options);

  /** Reads to the end. How many events, what it cost once it had begun, and where it stands. */
  const passThrough = async (options: CountedReaderOptions) => {
    await using reader = await openReader(options);
    const first = await reader.next();
    const works: Work[] = [];
    reader.take();
    let read = first?.events.length ?? 0;
    const cursor = await readOn(reader, (batch) => {
      read += batch.events.length;
      works.push(...reader.take());
      return "go on";
    });
    return { read, works, cursor };
  };

  let end: Cursor | null = null;

  test("costs the same statements, buffers and locks from its first stretch to its last", async () => {
    const { read, works, cursor } = await passThrough({});
    end = cursor;
    expect(read).toBe(events);
    const { statements, rows, buffers } = total(works);
    console.log(
      `${statements} statements, ${buffers} buffers, ${rows} rows, at most ${mostLocks(works)} locks`,
    );
    // A page and a look for each window, and one answer for each look.
    expect(statements).toBeLessThanOrEqual(2 * windows + 10);
    expect(rows).toBeLessThanOrEqual(events + windows + 10);
    const tenth = Math.floor(works.length / 10);
    const stretches = Array.from({ length: 10 }, (_, n) => works.slice(n * tenth, (n + 1) * tenth));
    console.log("buffers a statement:", stretches.map((it) => Math.round(meanBuffers(it))).join(" "));
    console.log("locks at most:", stretches.map(mostLocks).join(" "));
    expect(stretches.map(mostLocks).filter((it) => it > locksMax)).toEqual([]);
    const means = stretches.map(meanBuffers);
    expect(Math.max(...means) / Math.min(...means)).toBeLessThan(1.25);
  });

  test("lets a rare topic pass without touching the events of the others", async () => {
    const { read, works } = await passThrough({ topics: ["n.4321"] });
    expect(read).toBe(Math.floor(events / topics));
    const { statements, rows, buffers } = total(works);
    console.log(
      `${statements} statements, ${buffers} buffers, ${rows} rows, at most ${mostLocks(works)} locks`,
    );
    expect(statements).toBeLessThanOrEqual(2 * windows + 10);
    expect(rows).toBeLessThanOrEqual(read + windows + 10);
    // Below one for two events passed: what is left are the windows, not what is in them.
    expect(buffers / windows).toBeLessThan(30);
    expect(mostLocks(works)).toBeLessThanOrEqual(locksMax);
  });

  for (const kind of ["earliest", "latest", "cursor"] as const) {
    test(`is not opened as a whole by a reader that starts: ${kind}`, async () => {
      if (end === null) throw new Error("nothing was read");
      await using reader = await openReader({ from: kind === "cursor" ? { kind, cursor: end } : { kind } });
      await reader.next();
      const works = reader.take();
      console.log(kind, works.map((it) => `${it.buffers} buffers, ${it.locks} locks`).join("; "));
      expect(mostLocks(works)).toBeLessThanOrEqual(locksMax);
      expect(Math.max(...works.map((it) => it.buffers))).toBeLessThan(200);
    });
  }
});
