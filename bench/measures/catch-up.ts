//! Catching up: one subscriber from earliest, events decoded, its cursor committed per batch into a table of the application;
//! against `select` of the same columns by primary key, in pages, the next one asked for before this one is looked at,
//! decoded too, and nothing remembered. Both look at every event within the clock.

import { checkerOf } from "../checker.ts";
import type { BenchContext, Measure } from "../context.ts";
import { scaled } from "../context.ts";
import { openCursor } from "../cursor-table.ts";
import { type Draft, makeDrafts } from "../events.ts";
import { ratioAtLeast, rowOf, takeTurns, timed, type Turn } from "../figures.ts";
import { fillLog, readToEnd, warmUpTopic } from "../log.ts";
import { openRaw, type RawSql } from "../raw-table.ts";

const eventsFull = 1_000_000;
const pageRows = 10_000;

const byPgstream = async (
  context: BenchContext,
  database: string,
  drafts: readonly Draft[],
): Promise<Turn> => {
  await using cursor = await openCursor(database, "catch-up");
  const checker = checkerOf("catch-up", drafts);
  return await timed(context, drafts.length, async () => {
    await readToEnd({ database, checker, until: drafts.length, cursor });
  });
};

interface RawEvent {
  readonly id: bigint;
  readonly topic_id: number;
  readonly key: string | null;
  readonly type: string | null;
  readonly headers: string | null;
  readonly created_at: Date;
  readonly data: string;
}

const selectPage = (sql: RawSql, after: bigint) => sql<RawEvent[]>`
  select id, topic_id, created_at, key, type, headers::text as headers, data::text as data
  from pgstream.events where id > ${after} order by id limit ${pageRows}`;

const bySelect = async (context: BenchContext, database: string, drafts: readonly Draft[]): Promise<Turn> => {
  const checker = checkerOf("select", drafts);
  return await timed(context, drafts.length, async () => {
    await using opened = new AsyncDisposableStack();
    const sql = opened.adopt(openRaw(database, 1), async (it) => await it.end({ timeout: 1 }));
    const topics = await sql<{ id: number; name: string }[]>`select id, name from pgstream.topics`;
    const names = new Map(topics.map(({ id, name }) => [id, name]));
    for (let next = selectPage(sql, 0n).execute(); ;) {
      const page = await next;
      const last = page.at(-1);
      if (last === undefined) break;
      next = selectPage(sql, last.id).execute();
      for (const { topic_id, key, data } of page) {
        const topic = names.get(topic_id) ?? "";
        if (topic !== warmUpTopic) checker.see({ topic, key, data: JSON.parse(data) as unknown });
      }
    }
    checker.finish();
  });
};

export const catchUp: Measure = {
  name: "catch-up",
  about: "one subscriber from earliest, cursor committed per batch, beside select in pages",
  rounds: 9,
  run: async (context) => {
    const publishers = 4;
    const drafts = makeDrafts(scaled(context, eventsFull, publishers), publishers);
    await using database = await context.createDatabase();
    context.say(`  publishing ${drafts.length.toLocaleString("en-US")} events to catch up on`);
    await fillLog(database.url, drafts, publishers);
    await using opened = new AsyncDisposableStack();
    const sql = opened.adopt(openRaw(database.url, 1), async (it) => await it.end({ timeout: 1 }));
    // Whoever reads rows first marks them as committed: neither is to pay for the other.
    await sql`vacuum analyze pgstream.events`;
    const [pgstream, select] = await takeTurns(context, [
      { name: "pgstream", run: async () => await byPgstream(context, database.url, drafts) },
      { name: "select", run: async () => await bySelect(context, database.url, drafts) },
    ]);
    const row = rowOf(
      {
        measure: "catch-up",
        unit: "events/s",
        limitIs: "`select` in pages",
        must: ratioAtLeast(0.8),
        wanted: ratioAtLeast(0.95),
        details: { events: drafts.length, pageRows },
      },
      pgstream,
      select,
    );
    return { rows: [row] };
  },
};
