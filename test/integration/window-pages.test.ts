//! What the pages of a window hold, to the event, and what a page costs that is not the first: what it looks at, and not what
//! lies about.

import { expect, test } from "bun:test";

import { selectNextPage } from "../../src/adapters/postgres/read/select-events.ts";
import { makeWeighing } from "../../src/adapters/postgres/read/weighing.ts";
import type { Log, PageRequest, WindowEnd } from "../../src/core/log.ts";
import { emptySnapshot, makeSnapshot } from "../../src/core/snapshot.ts";
import { costOf } from "../support/explain.ts";
import { openReadBench, publish, publishMany, type ReadBench } from "../support/read-bench.ts";

/** A bench with sessions a and b. */
const setup = async () => {
  const bench = await openReadBench();
  return { bench, a: bench.session(), b: bench.session() };
};

/** A request for the window from the beginning of the epoch to now. */
const everything = async ({ log }: ReadBench): Promise<PageRequest> => {
  const { newest } = await log.epoch();
  const since = newest.snapshot;
  const request = { since, epoch: newest, bound: 0n, topicsSince: emptySnapshot, expectsTick: false };
  const { current } = await log.look(request);
  return {
    since,
    until: current,
    after: 0n,
    late: [],
    lateBound: 0n,
    top: null,
    mainBound: 0n,
    topicIds: null,
    eventsMax: 500,
    bytesMax: 2 ** 24,
  };
};

/** The bench's log, and what it is asked for pages that are not the first. */
const watched = ({ log }: ReadBench) => {
  const requests: [PageRequest, WindowEnd][] = [];
  const watching: Log = {
    ...log,
    nextPage: async (request, end) => {
      requests.push([request, end]);
      return await log.nextPage(request, end);
    },
  };
  return { log: watching, requests };
};

test("pages of one transaction of 50,000 events are read by the primary key, none of them anew, statistics or not", async () => {
  const { bench, a } = await setup();
  await using _ = bench;
  await publishMany(a, 50_000);
  const reader = await bench.reader({ pageEventsMax: 500, batchEventsMax: 500 });
  const ids = await reader.read();
  expect(ids).toHaveLength(50_000);
  expect(new Set(ids).size).toBe(50_000);

  const request = { ...(await everything(bench)), after: 25_000n };
  const end = await bench.log.windowEnd(request);
  expect(end).toEqual({ late: null, main: 50_000n, lateEvents: 0 });
  for (const statistics of ["without", "with"]) {
    if (statistics === "with") await a`analyze pgstream.events`;
    const next = await costOf(bench.client, selectNextPage(request, end, makeWeighing()));
    expect(next.indexes).toEqual(["events_0_pkey"]);
    expect(next.rows).toBe(500);
  }
}, 30_000);

test("pages between late commits and the main part do not walk through all that happened while a transaction was open", async () => {
  const { bench, a, b } = await setup();
  await using _ = bench;
  await a`begin`;
  const late = await publishMany(a, 5);
  const meanwhile = await publishMany(b, 40_000);
  await b`select pgstream.tick()`;
  const reader = await bench.reader();
  expect(await reader.read()).toEqual(meanwhile);
  await a`commit`;
  const main = await publishMany(b, 5);
  const { log, requests } = watched(bench);
  const resumed = await bench.reader({ stored: reader.cursor(), log, pageEventsMax: 3 });
  expect(await resumed.read()).toEqual([...late, ...main]);
  expect(requests.length).toBeGreaterThan(2);
  for (const [request, end] of requests) {
    expect((await costOf(bench.client, selectNextPage(request, end, makeWeighing()))).rows).toBeLessThan(20);
  }
}, 30_000);

test("pages of late commits far apart do not walk through all that happened between them, and take the main part in its place", async () => {
  const { bench, a, b } = await setup();
  await using _ = bench;
  await a`begin`;
  const first = await publishMany(a, 3);
  const reader = await bench.reader({ pageEventsMax: 10_000, batchEventsMax: 10_000 });
  for (let n = 0; n < 5; n += 1) await publishMany(b, 50_000);
  await b`select pgstream.tick()`;
  expect(await reader.read()).toHaveLength(250_000);
  const rest: bigint[] = [];
  for (const session of [b, a, b, a, b, b]) rest.push(await publish(session));
  await a`commit`;
  const { log, requests } = watched(bench);
  const resumed = await bench.reader({ stored: reader.cursor(), log, pageEventsMax: 3 });
  expect(await resumed.read()).toEqual([...first, ...rest]);
  expect(requests.length).toBeGreaterThan(1);
  for (const [request, end] of requests) {
    expect((await costOf(bench.client, selectNextPage(request, end, makeWeighing()))).rows).toBeLessThan(20);
  }
}, 60_000);

test("pages of many late commits, and of a large part beside them, take their share of both", async () => {
  const { bench, a, b } = await setup();
  await using _ = bench;
  const events = 50_000;
  const eventsMax = 500;
  await a`begin`;
  await publishMany(a, events);
  await publish(b);
  const { until: since } = await everything(bench);
  await publishMany(b, events);
  await a`commit`;
  // As if there were a tick behind what `since` sees.
  const known = { since, late: [...since.xip], mainBound: BigInt(events) + 1n };
  const request = { ...(await everything(bench)), ...known, eventsMax };
  const end = await bench.log.windowEnd(request);
  expect(end).toEqual({ late: BigInt(events), main: BigInt(2 * events + 1), lateEvents: events });
  // So far apart that each page finds them by xid.
  const apart = { ...end, late: 10n * (end.main ?? 0n), lateEvents: 1 };
  for (const statistics of ["without", "with"]) {
    if (statistics === "with") await a`analyze pgstream.events`;
    for (const after of [0n, 20_000n, 60_000n]) {
      const page = { ...request, after };
      const walked = await costOf(bench.client, selectNextPage(page, end, makeWeighing()));
      expect(walked.rows).toBeLessThanOrEqual(2 * eventsMax);
      const found = await costOf(bench.client, selectNextPage(page, apart, makeWeighing()));
      expect(found.rows).toBeLessThanOrEqual(events + eventsMax + 1);
    }
  }
}, 60_000);

test("each way of reading a window finds what its end sees and its start does not, to the xid and the id", async () => {
  await using bench = await openReadBench();
  const session = bench.session();
  // Seen at the start; late; the first that is not seen there; one that runs at the end; the last; behind it; one that runs at both.
  for (const [index, xid] of [50, 60, 100, 110, 119, 120, 61].entries()) {
    await session`
      insert into pgstream.events (xid, id, created_at, topic_id, data)
      values (${String(xid)}::text::xid8, ${index + 1}, now(), 1, '{}')`;
  }
  const { log } = bench;
  const request: PageRequest = {
    since: makeSnapshot(100n, [60n, 61n]),
    until: makeSnapshot(120n, [61n, 110n]),
    after: 0n,
    late: [60n],
    lateBound: 0n,
    top: null,
    mainBound: 0n,
    topicIds: null,
    eventsMax: 500,
    bytesMax: 2 ** 20,
  };
  const idsOf = ({ rows }: { readonly rows: readonly { readonly id: bigint }[] }) => rows.map(({ id }) => id);
  expect(idsOf(await log.firstPage(request))).toEqual([2n, 3n, 5n]);
  expect(idsOf(await log.firstPage({ ...request, top: 3n }))).toEqual([2n, 3n]);
  const end = { late: 2n, main: 5n, lateEvents: 1 };
  expect(await log.windowEnd(request)).toEqual(end);
  expect(await log.windowEnd({ ...request, top: 3n })).toEqual({ ...end, main: 3n });
  for (const [after, ids] of [
    [0n, [2n, 3n, 5n]],
    [1n, [2n, 3n, 5n]],
    [2n, [3n, 5n]],
    [3n, [5n]],
    [5n, []],
  ] as const) {
    // Late commits that end far away are not walked to, but found by xid.
    for (const late of [2n, 300_000n]) {
      const pageUpTo = async (main: bigint) =>
        idsOf(await log.nextPage({ ...request, after }, { ...end, late, main }));
      expect(await pageUpTo(5n)).toEqual([...ids]);
      expect(await pageUpTo(3n)).toEqual(ids.filter((id) => id < 5n));
    }
  }
  expect(await log.windowEnd({ ...request, after: 5n })).toEqual({ late: null, main: null, lateEvents: 0 });
});
