//! Readers that stop in the middle of windows and go on from the cursor as text.

import type postgres from "postgres";

import { openClient, type PostgresTarget } from "../../../src/adapters/postgres/client.ts";
import { makeLog, readingSession } from "../../../src/adapters/postgres/read/log.ts";
import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import type { Cursor } from "../../../src/core/cursor.ts";
import type { Log } from "../../../src/core/log.ts";
import { makeReader } from "../../../src/core/read/reader.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";
import { count, type Delivered, type History } from "./history.ts";

export interface ReaderOptions {
  readonly target: PostgresTarget;
  readonly history: History;
  readonly random: () => number;
  readonly isOver: () => boolean;
  readonly pause: (msMax: number) => Promise<void>;
  /** Plants a bug. */
  readonly spoil?: (log: Log, sql: postgres.Sql) => Log;
  readonly sql: postgres.Sql;
  /** Runs with the settings that are shipped, and never restarts; else with small pages, and often. */
  readonly isSteady: boolean;
}

export const shipped = { batchEventsMax: 1_000, pageEventsMax: 10_000, pageBytesMax: 2 ** 24 };

export const smallPages = (random: () => number): typeof shipped => ({
  batchEventsMax: 1 + Math.floor(random() * 40),
  pageEventsMax: 1 + Math.floor(random() * 120),
  pageBytesMax: 1 + Math.floor(random() * 4_000),
});

/** Reads until it is over and everything has been delivered. */
export const runReader = async (options: ReaderOptions): Promise<Delivered[]> => {
  const { history, random, isOver, pause, isSteady } = options;
  await using client = openClient(options.target, {
    name: "fault reader",
    deadlineMs: 20_000,
    session: readingSession,
  });
  const plain = makeLog(client);
  const log = options.spoil?.(plain, options.sql) ?? plain;
  const { newest } = await log.epoch();
  let cursor: Cursor = await startCursor(log, newest, { kind: "earliest" });
  const delivered: Delivered[] = [];
  for (;;) {
    const wasOver = isOver();
    const reader = makeReader(log, cursor, {
      filter: parseTopicPatterns(random() < 0.5 ? [">"] : ["*"]),
      epoch: newest,
      ...(isSteady ? shipped : smallPages(random)),
      onGap: () => {},
    });
    // A process's life: some batches, then it is gone, and the next one goes on from what was stored.
    const life = isSteady ? Infinity : random() < 0.1 ? 200 : 1 + Math.floor(random() * 20);
    for (let batches = 0; batches < life; batches += 1) {
      const batch = await reader.next();
      if (batch === null) {
        if (wasOver) return delivered;
        if (isSteady && isOver()) break;
        await pause(15);
        continue;
      }
      const at = performance.now();
      for (const event of batch.events) delivered.push({ id: event.id, at });
      cursor = decodeCursor(encodeCursor(batch.cursor));
      if (cursor.window !== null) count(history, "stopped inside a window");
    }
    count(history, "reader restarted");
  }
};

/** The proof of concept, without its look-back: everything above the highest id seen. */
export const runNaiveReader = async ({ sql, isOver, pause }: ReaderOptions): Promise<Delivered[]> => {
  const delivered: Delivered[] = [];
  for (let last = 0n; ;) {
    const wasOver = isOver();
    const rows = await sql<
      { id: string }[]
    >`select id from pgstream.events where id > ${String(last)}::bigint order by id limit 500`;
    const at = performance.now();
    for (const row of rows) {
      last = BigInt(row.id);
      delivered.push({ id: last, at });
    }
    if (rows.length > 0) continue;
    if (wasOver) return delivered;
    await pause(15);
  }
};

/** Behind the oldest running transaction, in the order of xids. */
export const runXidReader = async ({ sql, isOver, pause }: ReaderOptions): Promise<Delivered[]> => {
  const delivered: Delivered[] = [];
  let xid = "0";
  let id = "0";
  for (;;) {
    const wasOver = isOver();
    const rows = await sql<{ xid: string; id: string }[]>`
      select xid::text as xid, id from pgstream.events
      where (xid, id) > (${xid}::text::xid8, ${id}::bigint) and xid < pg_snapshot_xmin(pg_current_snapshot())
      order by events.xid, events.id limit 500`;
    const at = performance.now();
    for (const row of rows) {
      xid = row.xid;
      id = row.id;
      delivered.push({ id: BigInt(row.id), at });
    }
    if (rows.length > 0) continue;
    if (wasOver) return delivered;
    await pause(15);
  }
};
