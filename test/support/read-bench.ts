//! A log to read from: a database with the log in it, sessions to publish with, and readers that stop and go on.

import postgres from "postgres";

import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { decodeCursor, encodeCursor } from "../../src/core/cursor-codec.ts";
import type { Log } from "../../src/core/log.ts";
import { makeReader, type ReaderOptions } from "../../src/core/read/reader.ts";
import { type From, startCursor } from "../../src/core/read/start.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { createLogDatabase, openTestClient } from "./log-database.ts";

/** One connection, so that `begin` and `commit` may be statements of their own. */
export type Session = postgres.Sql;

export interface TextReader {
  /** Ids in the order of delivery, until there is nothing more or so many batches were read. */
  readonly read: (batchesMax?: number) => Promise<readonly bigint[]>;
  /** Where it stands, as it would be stored. */
  readonly cursor: () => string;
}

export interface ReadBenchReaderOptions extends Partial<ReaderOptions> {
  /** Default earliest. */
  readonly from?: From;
  /** What was stored; wins over `from`. */
  readonly stored?: string;
  /** Default the bench's own. */
  readonly log?: Log;
}

export interface ReadBench extends AsyncDisposable {
  readonly url: string;
  readonly client: PostgresClient;
  readonly log: Log;
  /** A new session, closed with the bench. */
  readonly session: () => Session;
  readonly reader: (options?: ReadBenchReaderOptions) => Promise<TextReader>;
}

/** Publishes one event in the session's open transaction, or in one of its own; its id. */
export const publish = async (session: Session, topic = "t", data = "{}"): Promise<bigint> => {
  const [row] = await session<{ id: string }[]>`
    select pgstream.publish(${topic}, ${data}::text::json, notify => false) as id`;
  return BigInt(row?.id ?? 0);
};

/** Publishes that many events with the data in one statement; their ids. */
export const publishMany = async (
  session: Session,
  count: number,
  data = "{}",
): Promise<readonly bigint[]> => {
  const [row] = await session<{ ids: string }[]>`
    select pgstream.publish_batch(
      rtrim(repeat(${`t\u001E`}, ${count}::integer), ${"\u001E"}),
      rtrim(repeat(${`${data}\u001E`}, ${count}::integer), ${"\u001E"}), notify => false)::text as ids`;
  return row?.ids.slice(1, -1).split(",").map(BigInt) ?? [];
};

/** Takes the transaction's xid early, as any write to another table does. */
export const takeXid = async (session: Session): Promise<bigint> => {
  const [row] = await session<{ xid: string }[]>`select pg_current_xact_id()::text as xid`;
  return BigInt(row?.xid ?? 0);
};

/**
 * Attaches the next segment and settles it. Whoever keeps a lock on events in an open transaction would stop that for a minute,
 * which passes at once here.
 */
export const prepareSegments = async (session: Session): Promise<void> => {
  await session`select pgstream.prepare_segments()`;
  await session`select pgstream.prepare_segments()`;
  await session`update pgstream.segments set attached_at = attached_at - interval '2 minutes' where settled_at is null`;
  await session`select pgstream.prepare_segments()`;
};

/** Moves on to the next segment. */
export const roll = async (session: Session): Promise<void> => {
  await prepareSegments(session);
  const [row] = await session<{ rolled: boolean }[]>`select pgstream.roll_segment('0 s', 0) as rolled`;
  if (row?.rolled !== true) throw new Error("the log did not roll");
};

/** @param existing a log to read from; without it, a new one is made and dropped in the end */
export const openReadBench = async (existing?: string): Promise<ReadBench> => {
  await using opening = new AsyncDisposableStack();
  const url = existing ?? opening.use(await createLogDatabase()).url;
  const client = opening.use(openTestClient(url));
  // A topic made by a transaction that is still open makes everybody else who publishes on it wait.
  await client.run((sql) => sql`insert into pgstream.topics (name) values ('t') on conflict do nothing`);
  const log = makeLog(client);
  const open = opening.move();

  const reader = async ({
    from,
    stored,
    log: own,
    ...options
  }: ReadBenchReaderOptions = {}): Promise<TextReader> => {
    const { newest } = await log.epoch();
    let cursor =
      stored === undefined
        ? await startCursor(log, newest, from ?? { kind: "earliest" })
        : decodeCursor(stored);
    const reading = makeReader(own ?? log, cursor, {
      filter: parseTopicPatterns([">"]),
      epoch: newest,
      batchEventsMax: 1_000,
      pageEventsMax: 10_000,
      pageBytesMax: 2 ** 24,
      onGap: (gap) => {
        throw new Error(`unexpected gap: ${JSON.stringify(gap)}`);
      },
      ...options,
    });
    const read = async (batchesMax = Infinity): Promise<readonly bigint[]> => {
      const ids: bigint[] = [];
      for (let batches = 0; batches < batchesMax;) {
        const batch = await reading.next();
        if (batch === null) break;
        ({ cursor } = batch);
        if (batch.events.length > 0) batches += 1;
        ids.push(...batch.events.map((event) => event.id));
      }
      return ids;
    };
    return { read, cursor: () => encodeCursor(cursor) };
  };
  return {
    url,
    client,
    log,
    session: () =>
      open.adopt(
        postgres(url, { max: 1, fetch_types: false, onnotice: () => {} }),
        async (sql) => await sql.end({ timeout: 1 }),
      ),
    reader,
    [Symbol.asyncDispose]: async () => await open.disposeAsync(),
  };
};
