//! One transaction of very many events, and one that stays open while very many events pass: what a reader asks and holds
//! does not grow with either.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { encodeCursor } from "../../src/core/cursor-codec.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import {
  type GrowthBench,
  openCountedReader,
  openGrowthBench,
  readOn,
  startGrowthServer,
} from "../support/growth-bench.ts";
import { liveThrough, makeTopics } from "../support/growth-log.ts";
import { total, type Work } from "../support/growth-meter.ts";
import { publishMany } from "../support/read-bench.ts";

let server: PostgresServer;
let bench: GrowthBench;
beforeAll(async () => {
  server = await startGrowthServer();
});
afterAll(async () => await server.close());
beforeEach(async () => {
  bench = await openGrowthBench(server);
  await makeTopics(bench.sql, "n", 2);
});
afterEach(async () => await bench[Symbol.asyncDispose]());

/** Events that the reader has taken from the server and not handed over, counted where both pass. */
const holding = () => {
  let held = 0;
  let heldMax = 0;
  return {
    came: (works: readonly Work[]) => {
      held += total(works).rows;
      heldMax = Math.max(heldMax, held);
    },
    went: (events: number) => {
      held -= events;
    },
    max: () => heldMax,
  };
};

describe("one transaction of 100,000 events", () => {
  const events = 100_000;
  const page = 5_000;
  const options = { pageEventsMax: page, batchEventsMax: 500 };

  /** @param transactionsPerTick more than one: nobody has ticked behind it */
  const commitAtOnce = async (transactionsPerTick = 1): Promise<void> => {
    await liveThrough(bench.sql, {
      segments: 1,
      transactionsPerSegment: 1,
      eventsPerTransaction: events,
      topics: 2,
      transactionsPerTick,
    });
  };

  test.each([
    ["before a tick, which bounds its ids", 1],
    ["with no tick behind it, found by its xid", 2],
  ] as const)(
    "comes in pages, at one price and none read twice, and never as a whole: %s",
    async (_, perTick) => {
      await commitAtOnce(perTick);
      await using reader = await openCountedReader(server, bench, options);
      reader.take();
      const held = holding();
      const works: Work[] = [];
      let read = 0n;
      await readOn(reader, (batch) => {
        const done = reader.take();
        works.push(...done);
        held.came(done);
        held.went(batch.events.length);
        for (const { id } of batch.events) {
          expect(id).toBe(read + 1n);
          read = id;
        }
        return "go on";
      });
      expect(read).toBe(BigInt(events));
      const pages = works.filter((it) => it.rows === page);
      expect(pages).toHaveLength(events / page);
      // A page, a look behind it, and where the window ends.
      const { statements, rows } = total(works);
      expect(statements).toBeLessThanOrEqual(2 * pages.length + 10);
      expect(rows).toBeLessThanOrEqual(events + pages.length + 10);
      // A page in hand and one on its way.
      expect(held.max()).toBeLessThanOrEqual(2 * page + 20);
      const buffers = pages.slice(1).map((it) => it.buffers);
      console.log(
        `${statements} statements, ${Math.min(...buffers)} to ${Math.max(...buffers)} buffers a page`,
      );
      expect(Math.max(...buffers)).toBeLessThanOrEqual(1.5 * Math.min(...buffers) + 20);
    },
  );

  test("is cut by bytes, so that large events are held by the few", async () => {
    await commitAtOnce();
    const large = bench.session();
    await large`update pgstream.events set data = to_json(repeat('x', 1000)) where id <= 6000`;
    await using reader = await openCountedReader(server, bench, { ...options, pageBytesMax: 200_000 });
    let most = 0;
    reader.take();
    await readOn(reader, (batch) => {
      most = Math.max(most, ...batch.events.map((it) => it.json.length * batch.events.length));
      return batch.events.some((it) => it.id > 5_000n) ? "enough" : "go on";
    });
    // The event that reaches the limit is the page's last.
    expect(most).toBeLessThanOrEqual(202_000);
  });

  test("is gone on with in the middle, where the reader stopped, for no more than the rest of it", async () => {
    await commitAtOnce();
    let last = 0n;
    let stopped: Cursor | null = null;
    {
      await using reader = await openCountedReader(server, bench, options);
      stopped = await readOn(reader, (batch) => {
        last = batch.events.at(-1)?.id ?? last;
        return last >= 50_200n ? "enough" : "go on";
      });
    }
    expect(last).toBe(50_500n);
    if (stopped === null) throw new Error("nothing was read");
    await using resumed = await openCountedReader(server, bench, {
      ...options,
      from: { kind: "cursor", cursor: stopped },
    });
    resumed.take();
    const works: Work[] = [];
    await readOn(resumed, (batch) => {
      works.push(...resumed.take());
      expect(batch.events[0]?.id ?? last + 1n).toBe(last + 1n);
      last = batch.events.at(-1)?.id ?? last;
      return "go on";
    });
    expect(last).toBe(BigInt(events));
    expect(total(works).rows).toBeLessThanOrEqual(events - 50_500 + 30);
  });
});

describe("a transaction that is held open", () => {
  const windows = 100;
  const eventsPerWindow = 200;

  /** What passes while it is open, window by window as it is read, from a reader that looks after each of them. */
  const passBy = async (
    reader: Awaited<ReturnType<typeof openCountedReader>>,
  ): Promise<{ works: Work[]; cursors: number[] }> => {
    const works: Work[] = [];
    const cursors: number[] = [];
    for (let n = 0; n < windows; n += 1) {
      await liveThrough(bench.sql, {
        segments: 1,
        transactionsPerSegment: 10,
        eventsPerTransaction: eventsPerWindow / 10,
        transactionsPerTick: 10,
      });
      let read = 0;
      const cursor = await readOn(reader, (batch) => {
        read += batch.events.length;
        return "go on";
      });
      expect(read).toBe(eventsPerWindow);
      works.push(total(reader.take()));
      if (cursor !== null) cursors.push(encodeCursor(cursor).length);
    }
    return { works, cursors };
  };

  const hold = async (session: postgres.Sql): Promise<readonly bigint[]> => {
    await session`begin`;
    return await publishMany(session, 10);
  };

  test("costs a window the same work and the cursor the same bytes, whatever has passed since", async () => {
    const session = bench.session();
    const late = await hold(session);
    await using reader = await openCountedReader(server, bench);
    expect(await reader.next()).toBeNull();
    reader.take();
    const { works, cursors } = await passBy(reader);
    const first = works[1] as Work;
    const last = works.at(-1) as Work;
    console.log(
      `${first.buffers} buffers, then ${last.buffers}; cursor ${cursors[0]} bytes, then ${cursors.at(-1)}`,
    );
    expect(last.statements).toBe(first.statements);
    expect(last.buffers).toBeLessThanOrEqual(1.2 * first.buffers + 10);
    expect(last.locks).toBeLessThanOrEqual(first.locks);
    expect(cursors.at(-1)).toBeLessThanOrEqual((cursors[0] ?? 0) + 8);

    // And when it ends, what has passed is not passed again for its sake.
    await session`commit`;
    const ids: bigint[] = [];
    await readOn(reader, (batch) => {
      ids.push(...batch.events.map((it) => it.id));
      return "go on";
    });
    expect(ids).toEqual([...late]);
    const { buffers, rows } = total(reader.take());
    console.log(`its own ${ids.length} events, when it ends: ${buffers} buffers`);
    expect(buffers).toBeLessThan(200);
    expect(rows).toBeLessThan(30);
  });
});
