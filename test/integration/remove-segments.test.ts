//! Segments that retention emptied are removed by the migrator, and nobody is stopped by it.

import { describe, expect, test } from "bun:test";

import postgres from "postgres";

import { openClient } from "../../src/adapters/postgres/client.ts";
import { removeEmptySegments } from "../../src/adapters/postgres/purge/remove-segments.ts";
import {
  createLogDatabase,
  openTestClient,
  readAll,
  readerFromStart,
  targetOf,
} from "../support/log-database.ts";
import { recordingLogger } from "../support/migrator.ts";

const connect = (url: string): postgres.Sql =>
  postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });

/** Segment 0 filled and emptied two hours ago, segment 1 in use. */
const emptyFirstSegment = async (sql: postgres.Sql): Promise<void> => {
  await sql`select pgstream.publish('t', '1')`;
  await sql`select pgstream.roll_segment('0 s', 0)`;
  await sql`select pgstream.prepare_segments()`;
  await sql`select pgstream.publish('t', '2')`;
  await sql`truncate pgstream.events_0`;
  await sql`update pgstream.segments set emptied_at = now() - interval '2 hours' where segment = 0`;
};

const segmentTables = async (sql: postgres.Sql): Promise<string[]> => {
  const rows = await sql<{ name: string }[]>`
    select relname as name from pg_class where relname ~ '^events_[0-9]+$' order by relname`;
  return rows.map(({ name }) => name);
};

describe("removing empty segments", () => {
  test("takes what was emptied long ago, and leaves the rest readable", async () => {
    await using database = await createLogDatabase();
    const sql = connect(database.url);
    await emptyFirstSegment(sql);
    await using client = openTestClient(database.url);
    expect(await removeEmptySegments(client, recordingLogger().logger)).toBe(1);
    expect(await segmentTables(sql)).toEqual(["events_1", "events_2", "events_32768"]);
    expect(await removeEmptySegments(client, recordingLogger().logger)).toBe(0);
    expect(await readAll(await readerFromStart(client))).toEqual([1n << 32n]);
    await sql.end();
  });

  test("gives up behind an open publisher, stops nobody meanwhile, and is finished the next time", async () => {
    await using database = await createLogDatabase();
    const [sql, holder] = [connect(database.url), connect(database.url)];
    await emptyFirstSegment(sql);
    await using client = openClient(targetOf(database.url), {
      name: "test",
      deadlineMs: 20_000,
      session: { lock_timeout: "300ms" },
    });
    await holder`begin`;
    await holder`select pgstream.publish('t', '3')`;
    const { logger, lines } = recordingLogger();
    const removing = removeEmptySegments(client, logger);
    // Publishers go on while it waits.
    await sql`select pgstream.publish('t', '4')`;
    expect(await removing).toBe(0);
    expect(lines.join("\n")).toContain("could not be removed now");
    await sql`select pgstream.publish('t', '5')`;
    await holder`commit`;

    expect(await removeEmptySegments(client, logger)).toBe(1);
    expect(await segmentTables(sql)).not.toContain("events_0");
    expect(await readAll(await readerFromStart(client))).toHaveLength(4);
    await Promise.all([sql.end(), holder.end()]);
  });
});
