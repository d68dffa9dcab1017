//! Whoever crosses from an earlier epoch, over random histories of a model of the log.

import { expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import type { Cursor } from "../../../src/core/cursor.ts";
import type { TopicGap } from "../../../src/core/gap.ts";
import { makeCrossing } from "../../../src/core/read/crossing.ts";
import { makeReader } from "../../../src/core/read/reader.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { makeRandom, type Random, seededRandom } from "../../support/seed.ts";
import { epochIds, type FakeLog, type FakeTransaction, makeFakeLog } from "./fake-log.ts";

const filter = parseTopicPatterns(["a", "b"]);
const firstIds = { second: 1_000n, third: 2_000n };

const limitsOf = (random: Random) => ({
  filter,
  batchEventsMax: random.integer(1, 4),
  pageEventsMax: random.integer(1, 8),
  pageBytesMax: random.integer(1, 30),
});

/** Reads batches until there are none, or `isEnough` says so. Answers where it stands. */
const readOn = async (
  next: () => Promise<{
    readonly events: readonly { readonly id: bigint }[];
    readonly cursor: Cursor;
  } | null>,
  from: Cursor,
  into: bigint[],
  isEnough: () => boolean,
): Promise<{ readonly cursor: Cursor; readonly isThrough: boolean }> => {
  let cursor = from;
  while (!isEnough()) {
    const batch = await next();
    if (batch === null) return { cursor, isThrough: true };
    into.push(...batch.events.map(({ id }) => id));
    cursor = decodeCursor(encodeCursor(batch.cursor));
  }
  return { cursor, isThrough: false };
};

const noGap = (gap: readonly TopicGap[]): void => {
  throw new Error(`unexpected gap: ${Bun.inspect(gap)}`);
};

interface Written {
  /** When its first publish call began, and when it committed. */
  readonly startedAt: number;
  readonly committedAt: number;
}

interface Life {
  readonly steps: number;
  readonly read: () => Promise<void>;
  /** What was committed, by id. */
  readonly written: Map<bigint, Written>;
}

/** Transactions that overlap, some of which never end; ticks; and a reader that reads now and then. */
const liveThrough = async (
  database: FakeLog,
  random: Random,
  { steps, read, written }: Life,
): Promise<void> => {
  const open: { transaction: FakeTransaction; ids: bigint[]; startedAt: number }[] = [];
  const begunAt = written.size * 1_000;
  for (let now = begunAt; now < begunAt + steps; now += 1) {
    const what = random.random();
    const some = open.length === 0 ? undefined : random.pick(open);
    if (what < 0.2) open.push({ transaction: database.begin(), ids: [], startedAt: Infinity });
    else if (what < 0.65 && some !== undefined) {
      some.startedAt = Math.min(some.startedAt, now);
      const topic = random.pick(["a", "b", "unwanted"]);
      some.ids.push(some.transaction.publish(topic, "x".repeat(random.integer(1, 9))));
    } else if (what < 0.86 && some !== undefined) {
      open.splice(open.indexOf(some), 1);
      if (random.chance(0.2)) some.transaction.rollback();
      else {
        some.transaction.commit();
        for (const id of some.ids) written.set(id, { startedAt: some.startedAt, committedAt: now });
      }
    } else if (what < 0.92) database.tick();
    else await read();
  }
  // A failover ends what was running.
  for (const { transaction } of open) transaction.rollback();
};

/** If B's publish began after A had committed, B is not delivered before A. */
const checkOrder = (delivered: readonly bigint[], written: Life["written"]): void => {
  let latestStart = -1;
  for (const id of delivered) {
    const { startedAt, committedAt } = written.get(id) ?? { startedAt: 0, committedAt: -2 };
    if (committedAt < latestStart) throw new Error(`${id} is out of order`);
    latestStart = Math.max(latestStart, startedAt);
  }
};

/** Whoever reads in one epoch, is stopped anywhere, and crosses one or two others, stopped anywhere again. */
const runHistory = async (seed: number): Promise<number> => {
  const random = seededRandom(seed);
  const database = makeFakeLog();
  database.cutsFirst = () => random.chance(0.1);
  database.ticksAhead = () => random.integer(1, 4);
  database.stepEvents = () => random.integer(1, 12);
  const delivered: bigint[] = [];
  const epoch = database.newestEpoch();
  let cursor = await startCursor(database.log, epoch, { kind: "earliest" });
  const read = async (): Promise<void> => {
    const reader = makeReader(database.log, cursor, { ...limitsOf(random), epoch, onGap: noGap });
    const until = random.integer(1, 3);
    let batches = 0;
    const reached = await readOn(reader.next.bind(reader), cursor, delivered, () => (batches += 1) > until);
    ({ cursor } = reached);
  };
  const written: Life["written"] = new Map();
  const nobody = async (): Promise<void> => await Promise.resolve();
  await liveThrough(database, random, { steps: 120, read, written });
  const before = delivered.length;
  database.openEpoch(epochIds.second, firstIds.second);
  await liveThrough(database, random, { steps: 30, read: nobody, written });
  if (random.chance(0.5)) {
    database.openEpoch(epochIds.third, firstIds.third);
    await liveThrough(database, random, { steps: 30, read: nobody, written });
  }
  for (let isThrough = false; !isThrough;) {
    const path = await database.log.epochsSince(cursor.epoch);
    const crossing = makeCrossing(database.log, cursor, path, { ...limitsOf(random), onGap: noGap });
    const reached = await readOn(crossing.next.bind(crossing), cursor, delivered, () => random.chance(0.2));
    ({ isThrough } = reached);
    cursor = isThrough ? crossing.cursor() : reached.cursor;
  }
  if (cursor.epoch !== database.newestEpoch().id) throw new Error("it is not in the newest epoch");
  const crossed = delivered.length - before;
  const last = makeReader(database.log, cursor, {
    ...limitsOf(random),
    epoch: database.newestEpoch(),
    onGap: noGap,
  });
  await readOn(last.next.bind(last), cursor, delivered, () => false);
  checkOrder(delivered, written);
  const wanted = database.rows.filter(({ topic }) => topic !== "unwanted").map(({ id }) => id);
  const lost = wanted.filter((id) => !delivered.includes(id));
  if (lost.length > 0) throw new Error(`lost ${lost.join(", ")}`);
  if (delivered.length !== wanted.length) throw new Error("delivered twice");
  return crossed;
};

test("in 300 random histories nothing is lost, repeated or out of order, wherever it stopped before and on its way", async () => {
  const { integer } = makeRandom("crossings");
  let events = 0;
  for (let n = 0; n < 300; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      events += await runHistory(seed);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  expect(events).toBeGreaterThan(1_000);
});
