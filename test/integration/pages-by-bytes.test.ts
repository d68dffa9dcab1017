//! Pages are bounded in bytes, whether their events have to be weighed or are plainly small.

import { describe, expect, test } from "bun:test";

import { openClient } from "../../src/adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../../src/adapters/postgres/read/live-log.ts";
import type { Log, Page } from "../../src/core/log.ts";
import { requestFrom } from "../support/live-request.ts";
import { targetOf } from "../support/log-database.ts";
import { openReadBench, publish, type ReadBench } from "../support/read-bench.ts";
import { makeRandom } from "../support/seed.ts";

/** The log, and what each of its pages held. */
const watched = ({ log }: ReadBench) => {
  const pages: Page[] = [];
  const seen = (page: Page): Page => {
    pages.push(page);
    return page;
  };
  const watching: Log = {
    ...log,
    firstPage: async (request) => seen(await log.firstPage(request)),
    nextPage: async (request, end) => seen(await log.nextPage(request, end)),
  };
  return { log: watching, pages };
};

const setup = async () => {
  const bench = await openReadBench();
  return { bench, a: bench.session(), ...watched(bench) };
};

const textOf = (size: number): string => JSON.stringify("x".repeat(size));

describe("a page", () => {
  test("is cut by bytes, and an event larger than the limit comes alone", async () => {
    const { bench, a, log, pages } = await setup();
    await using _ = bench;
    const ids: bigint[] = [];
    for (const size of [10, 5_000, 10, 10, 900, 900, 5_000, 10])
      ids.push(await publish(a, "t", textOf(size)));
    const reader = await bench.reader({ log, pageEventsMax: 50, pageBytesMax: 1_000 });
    expect(await reader.read()).toEqual(ids);
    // Up to the first that is larger than its share; then each ends with the event that reaches the limit.
    expect(pages.map(({ rows }) => rows.length).filter((rows) => rows > 0)).toEqual([1, 1, 4, 1, 1]);
  });

  test("weighs headers, too, and brings none from behind the cut", async () => {
    const { bench, a, log, pages } = await setup();
    await using _ = bench;
    const headers = JSON.stringify({ note: "x".repeat(3_000) });
    const ids: bigint[] = [];
    for (let n = 0; n < 6; n += 1) {
      const [row] = await a<{ id: string }[]>`
        select pgstream.publish('t', '1', headers => ${headers}::text::json, notify => false) as id`;
      ids.push(BigInt(row?.id ?? 0));
    }
    const reader = await bench.reader({ log, pageBytesMax: 5_000 });
    expect(await reader.read()).toEqual(ids);
    expect(pages.map(({ rows }) => rows.length).filter((rows) => rows > 0)).toEqual([2, 2, 2]);
    expect(pages.flatMap(({ rows }) => rows.map((row) => row.headers))).toEqual(ids.map(() => headers));
  });

  test("holds no more than its bytes and one event, whatever comes after what, compressed or not", async () => {
    const { bench, a, log, pages } = await setup();
    await using _ = bench;
    const random = makeRandom("sizes");
    const noise = (size: number): string =>
      JSON.stringify(Array.from({ length: size / 8 }, () => random.integer(0, 1e7)));
    const sizes = Array.from({ length: 300 }, () =>
      random.pick([5, 20, 90, 90, 90, 110, 400, 3_000, 40_000]),
    );
    const ids: bigint[] = [];
    for (const size of sizes) ids.push(await publish(a, "t", random.pick([textOf, noise])(size)));
    const pageBytesMax = 2_000;
    const reader = await bench.reader({ log, pageEventsMax: 20, batchEventsMax: 7, pageBytesMax });
    expect(await reader.read()).toEqual(ids);
    for (const { rows } of pages) {
      const bytes = rows.slice(0, -1).reduce((sum, { data }) => sum + data.length, 0);
      expect(bytes).toBeLessThan(pageBytesMax);
    }
    expect(Math.max(...pages.map(({ rows }) => rows.length))).toBeGreaterThan(5);
  });

  test("of a live read says whether there is more, and is weighed once one was cut short in front of a large event", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const ids: bigint[] = [];
    for (let n = 0; n < 5; n += 1) ids.push(await publish(a, "t", textOf(600)));
    const session = { name: "live", deadlineMs: 20_000, session: liveSession };
    await using client = openClient(targetOf(bench.url), session);
    const live = makeLiveLog(client);
    const { newest: epoch } = await bench.log.epoch();
    const read = async (limits: { readonly eventsMax: number; readonly bytesMax: number }) => {
      const { rows, more } = (await live.read(requestFrom(epoch, limits))).page;
      return { ids: rows.map(({ id }) => id), more };
    };
    const bytesMax = 2 ** 20;
    expect(await read({ eventsMax: 3, bytesMax })).toEqual({ ids: ids.slice(0, 3), more: true });
    expect(await read({ eventsMax: 6, bytesMax })).toEqual({ ids, more: false });
    // Each is larger than its share of these; two reach the limit.
    const short = { eventsMax: 50, bytesMax: 1_000 };
    expect(await read(short)).toEqual({ ids: [], more: true });
    expect(await read(short)).toEqual({ ids: ids.slice(0, 2), more: true });
  });
});
