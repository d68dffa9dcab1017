//! Publishing one by one: 64 calls in flight, each resolved only when its commit is durable, against 64 connections that
//! insert and commit as calls come. What was published is read back and checked after the clock has stopped.

import { checkerOf } from "../checker.ts";
import { type BenchContext, DeliveryError, type Measure, scaled } from "../context.ts";
import { type Draft, makeDrafts } from "../events.ts";
import { ratioAtLeast, rowOf, takeTurns, timed, type Turn } from "../figures.ts";
import { openPublishers, readToEnd } from "../log.ts";
import { countRaw, createRawTable, insertOne, openRaw, warmUp } from "../raw-table.ts";

const callsInFlight = 64;
const eventsFull = 200_000;
const insertsFull = 30_000;

/** As many callers, each making its next call when its last is answered; calls are made in the order of events. */
const inFlight = async (
  drafts: readonly Draft[],
  call: (draft: Draft) => Promise<unknown>,
): Promise<void> => {
  let next = 0;
  await Promise.all(
    Array.from({ length: callsInFlight }, async () => {
      for (let draft = drafts[next++]; draft !== undefined; draft = drafts[next++]) await call(draft);
    }),
  );
};

const byPgstream = async (context: BenchContext, drafts: readonly Draft[]): Promise<Turn> => {
  await using database = await context.createDatabase();
  await using open = await openPublishers(database.url, 1);
  const [publisher] = open.publishers;
  const turn = await timed(context, drafts.length, async () => {
    await inFlight(drafts, async (draft) => await publisher?.publish(draft));
  });
  const checker = checkerOf("reading back what was published", drafts);
  await readToEnd({ database: database.url, checker, until: drafts.length, cursor: null });
  return turn;
};

const byInsert = async (context: BenchContext, drafts: readonly Draft[]): Promise<Turn> => {
  await using database = await context.createDatabase("empty");
  await using opened = new AsyncDisposableStack();
  const sql = opened.adopt(openRaw(database.url, callsInFlight), async (it) => await it.end({ timeout: 1 }));
  await createRawTable(sql);
  await warmUp(sql);
  const turn = await timed(context, drafts.length, async () => {
    await inFlight(drafts, async (draft) => await insertOne(sql, draft));
  });
  const count = await countRaw(sql);
  if (count !== drafts.length) throw new DeliveryError(`insert: ${count} of ${drafts.length} rows are there`);
  return turn;
};

export const publishSingle: Measure = {
  name: "publish-single",
  about: "64 calls in flight, beside 64 connections that insert and commit",
  rounds: 9,
  run: async (context) => {
    const drafts = makeDrafts(scaled(context, eventsFull));
    const inserted = drafts.slice(0, scaled(context, insertsFull));
    const [pgstream, insert] = await takeTurns(context, [
      { name: "pgstream", run: async () => await byPgstream(context, drafts) },
      { name: "insert", run: async () => await byInsert(context, inserted) },
    ]);
    const row = rowOf(
      {
        measure: "publish, one by one, 64 in flight",
        unit: "events/s",
        limitIs: "64 × `insert`",
        must: ratioAtLeast(5),
        wanted: (_, figure) => ({ text: "> 100,000/s", isReached: figure > 100_000 }),
        details: { events: drafts.length, inserts: inserted.length },
      },
      pgstream,
      insert,
    );
    return { rows: [row] };
  },
};
