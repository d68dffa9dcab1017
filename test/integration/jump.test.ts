//! With a new epoch ids jump so far that none comes twice, whatever the server before had handed out and this one never heard of.

import { expect, test } from "bun:test";

import postgres from "postgres";

import { startLaggingStandby } from "../support/lagging-standby.ts";
import { becomeAnotherServer, migrate } from "../support/log-database.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { openReadBench, prepareSegments, publish, roll, type Session } from "../support/read-bench.ts";
import { subscribe } from "../support/subscriber.ts";
import { waitFor } from "../support/wait-for.ts";

/** Segments between two places where an epoch may begin. */
const stride = 16_384n;

const connect = (url: string): Session => postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });

/** As if the log had rolled so often. */
const moveTo = async (session: Session, segment: bigint): Promise<void> => {
  await session`select setval('pgstream.event_ids', ${String((segment << 32n) - 1n)}::bigint)`;
  await prepareSegments(session);
};

const segmentOf = (id: bigint): bigint => id >> 32n;

describeOnPostgres(
  [15, 18],
  "an id that a primary handed out and a lagging standby never heard of",
  (version) => {
    test("is not handed out again by that standby", async () => {
      await using primary = await startOwnServer({ version });
      await migrate(primary.url());
      const before = connect(primary.url());
      await moveTo(before, stride - 1n);
      await publish(before);
      await prepareSegments(before);
      await before.end();
      await using standby = await startLaggingStandby(primary, version);
      const alone = connect(primary.url());
      await roll(alone);
      const lost = await publish(alone);
      expect(segmentOf(lost)).toBe(stride);
      await alone.end();

      const promoted = connect(standby.url());
      await promoted`select pg_promote()`;
      const id = await publish(promoted);
      expect(segmentOf(id)).toBe(2n * stride);
      await promoted.end();
    }, 60_000);
  },
);

test.each([
  ["a fresh log", 0n, 2n * stride],
  ["the last segment before a place where an epoch may begin", stride - 1n, 2n * stride],
  ["such a place itself, before anything more was attached", stride, 2n * stride],
  ["the segment after it", stride + 1n, 3n * stride],
])("from %s the first publish jumps over all segments that may have been lost", async (_, from, to) => {
  await using bench = await openReadBench();
  const session = bench.session();
  if (from > 0n) {
    await moveTo(session, from - 1n);
    await publish(session);
    await roll(session);
    await publish(session);
  }
  await becomeAnotherServer(session);
  const id = await publish(session);
  expect(id).toBe(to << 32n);
  expect(segmentOf(id)).toBeGreaterThanOrEqual(from + stride);
});

test("a segment that a roll reached, and did not keep, is never the first of an epoch: who crosses gets what is in it", async () => {
  await using bench = await openReadBench();
  const session = bench.session();
  await moveTo(session, stride - 1n);
  const ids = [await publish(session)];
  await prepareSegments(session);
  await session`begin`;
  await session`select pgstream.roll_segment('0 s', 0)`;
  await session`rollback`;
  ids.push(await publish(session), await publish(session));
  expect(ids.map(segmentOf)).toEqual([stride - 1n, stride, stride]);
  await using before = subscribe({ database: bench.url, batchEventsMax: 1 });
  await waitFor(() => before.ids.length > 0, { what: "the first event" });
  await before.subscription.stop();
  await becomeAnotherServer(session);
  ids.push(await publish(session));
  await using after = subscribe({ database: bench.url, since: before.cursor(), onEpochChange: "cross" });
  await waitFor(() => after.ids.at(-1) === ids.at(-1), { what: "the event of the new epoch" });
  expect([...before.ids, ...after.ids]).toEqual(ids);
});
