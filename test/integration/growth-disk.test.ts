//! What an event takes on the disk: a table of the same columns and indexes with the same rows takes as much. Counted in
//! pages, which the order of writing decides and no clock does.

import { expect, test } from "bun:test";

import { chunksOf, makeDrafts, topicNames } from "../../bench/events.ts";
import { createRawTable, openRaw } from "../../bench/raw-table.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { createLogDatabase } from "../support/log-database.ts";

const events = 20_000;
const listSize = 1_000;

test(`${events} events take as much of the disk as the same rows in a table by hand`, async () => {
  await using database = await createLogDatabase();
  await using open = new AsyncDisposableStack();
  const sql = open.adopt(openRaw(database.url, 1), async (it) => await it.end({ timeout: 1 }));
  await sql`insert into pgstream.topics (name) select unnest(string_to_array(${topicNames.join(",")}, ','))`;
  const publisher = open.use(openPublisher({ database: database.url }));
  for (const list of chunksOf(makeDrafts(events), listSize)) await publisher.publish(list);

  await createRawTable(sql);
  // List by list, in the order in which they were published: where an index splits its pages depends on it.
  const xids = await sql<{ xid: string }[]>`
    select xid::text as xid from pgstream.events group by events.xid order by events.xid`;
  for (const { xid } of xids) {
    await sql`
      insert into raw (xid, id, created_at, topic_id, key, type, headers, data)
      select xid, id, created_at, topic_id, key, type, headers, data
      from pgstream.events where xid = ${xid}::xid8 order by id`;
  }
  await sql`vacuum pgstream.events`;
  await sql`vacuum raw`;
  const [row] = await sql<{ count: number; log: number; raw: number }[]>`
    select (select count(*)::integer from raw) as count, pg_total_relation_size('raw')::float8 as raw,
      (select sum(pg_total_relation_size(inhrelid))::float8 from pg_inherits
       where inhparent = 'pgstream.events'::regclass) as log`;
  const { count = 0, log = 0, raw = 0 } = row ?? {};
  console.log(`${log / count} bytes an event, ${raw / count} by hand`);
  expect(count).toBe(events);
  expect(log / raw).toBeGreaterThan(0.98);
  expect(log / raw).toBeLessThan(1.02);
});
