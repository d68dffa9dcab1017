//! Publishing lists: four publishers, one list in flight each, against COPY of the same rows, as many a COPY, over four
//! connections. The text for COPY is made before the clock starts, so that the limit has next to no client; pgstream's
//! publishers begin with objects. What was published is read back and checked after the clock has stopped.

import { checkerOf } from "../checker.ts";
import { type BenchContext, DeliveryError, type Measure, type Row, scaled } from "../context.ts";
import { type Draft, listsOf, makeDrafts } from "../events.ts";
import { ratioAtLeast, rowOf, takeTurns, timed, type Turn } from "../figures.ts";
import { openPublishers, publishLists, readToEnd } from "../log.ts";
import { copyIn, copyText, countRaw, createRawTable, openRaw, warmUp } from "../raw-table.ts";

const publisherCount = 4;
const eventsFull = 400_000;
const listSizes = [1_000, 5_000];

const byPgstream = async (context: BenchContext, drafts: readonly Draft[], size: number): Promise<Turn> => {
  await using database = await context.createDatabase();
  await using open = await openPublishers(database.url, publisherCount);
  const lists = listsOf(drafts, publisherCount, size);
  const turn = await timed(context, drafts.length, async () => {
    await publishLists(open.publishers, lists);
  });
  const checker = checkerOf("reading back what was published", drafts);
  await readToEnd({ database: database.url, checker, until: drafts.length, cursor: null });
  return turn;
};

const byCopy = async (context: BenchContext, drafts: readonly Draft[], size: number): Promise<Turn> => {
  await using database = await context.createDatabase("empty");
  await using opened = new AsyncDisposableStack();
  const sql = opened.adopt(openRaw(database.url, publisherCount), async (it) => await it.end({ timeout: 1 }));
  await createRawTable(sql);
  await warmUp(sql);
  const createdAt = new Date().toISOString();
  const texts = listsOf(drafts, publisherCount, size).map((lists, publisher) =>
    lists.map((list, index) => copyText(list, 1_000 + index * publisherCount + publisher, createdAt)),
  );
  const turn = await timed(context, drafts.length, async () => {
    await Promise.all(
      texts.map(async (own) => {
        for (const text of own) await copyIn(sql, text);
      }),
    );
  });
  const count = await countRaw(sql);
  if (count !== drafts.length) throw new DeliveryError(`COPY: ${count} of ${drafts.length} rows are there`);
  return turn;
};

const measureSize = async (context: BenchContext, size: number): Promise<Row> => {
  const drafts = makeDrafts(scaled(context, eventsFull, publisherCount * size), publisherCount);
  context.say(`  ${drafts.length.toLocaleString("en-US")} events in lists of ${size}`);
  const [pgstream, copy] = await takeTurns(context, [
    { name: "pgstream", run: async () => await byPgstream(context, drafts, size) },
    { name: "COPY", run: async () => await byCopy(context, drafts, size) },
  ]);
  return rowOf(
    {
      measure: `publish, lists of ${size.toLocaleString("en-US")}`,
      unit: "events/s",
      limitIs: "`COPY`",
      must: ratioAtLeast(0.75),
      wanted: ratioAtLeast(0.9),
      details: { events: drafts.length, publishers: publisherCount },
    },
    pgstream,
    copy,
  );
};

export const publishBatches: Measure = {
  name: "publish-batches",
  about: "4 publishers, lists of 1,000 and of 5,000, beside COPY",
  rounds: 9,
  run: async (context) => {
    const rows: Row[] = [];
    for (const size of listSizes) rows.push(await measureSize(context, size));
    return { rows };
  },
};
