//! Reads the log: implements the port core/log.ts with SELECTs.
//!
//! Bounds and snapshots go in as parameters and every execution is planned anew, so that the planner leaves out the
//! segments below the bounds before it opens or locks them.

import { PgstreamError } from "../../../core/errors.ts";
import type {
  Bound,
  Bounds,
  Epoch,
  EpochState,
  Log,
  Look,
  LookRequest,
  News,
  NewTopic,
  Page,
  PageRequest,
  PurgedTopic,
} from "../../../core/log.ts";
import { parseSnapshot } from "../../../core/snapshot.ts";
import type { PostgresClient } from "../client.ts";
import { empty, sql, type Statement } from "../statement.ts";
import { makeAsk, refuseStandby } from "./ask.ts";
import { epochColumns } from "./epoch-columns.ts";
import { type EventColumns, pageOf } from "./event-columns.ts";
import { makeLogStarts } from "./log-starts.ts";
import { selectFirstPage, selectNextPage, selectStepEnd, selectWindowEnd } from "./select-events.ts";
import {
  type BoundColumns,
  type LookColumns,
  type NewsColumns,
  selectBounds,
  selectLook,
} from "./select-look.ts";
import { makeWeighing } from "./weighing.ts";

/**
 * Settings of a session that reads. Everything it asks for has its index, and tables may be so new that they have no
 * statistics. Without bitmap scans pages then come off the primary key in order all the same: else every page would
 * collect the rest of its window anew, and sort it. Without sequential scans an idle look does not go through all topics.
 * Before PostgreSQL 18 that makes what has no other way look so expensive that it would be compiled first, for 100 ms.
 */
export const readingSession = {
  plan_cache_mode: "force_custom_plan",
  enable_bitmapscan: "off",
  enable_seqscan: "off",
  jit: "off",
} as const;

interface EpochColumns {
  readonly standby: boolean;
  readonly number: number;
  readonly id: string;
  readonly first_id: string;
  readonly snapshot: string;
  readonly running: boolean;
}

interface PurgedColumns {
  readonly purge: bigint;
  readonly topic: string;
  readonly events: bigint;
  readonly first_xid: string;
  readonly last_xid: string;
  readonly first_id: bigint;
  readonly last_id: bigint;
  readonly floor: string;
  readonly of_segment: boolean;
  readonly done: boolean;
}

export const missing = (): never => {
  throw new PgstreamError("not_migrated", "the log has no epoch: run the migrator");
};

const purgedOf = (row: PurgedColumns): PurgedTopic => ({
  purge: row.purge,
  topic: row.topic,
  events: Number(row.events),
  firstXid: BigInt(row.first_xid),
  lastXid: BigInt(row.last_xid),
  firstId: row.first_id,
  lastId: row.last_id,
  floor: parseSnapshot(row.floor),
  ofSegment: row.of_segment,
  done: row.done,
});

const boundOf = (xid: string | null, lastId: bigint | null): Bound | null =>
  xid === null || lastId === null ? null : { xid: BigInt(xid), lastId };

const boundsOf = (row: BoundColumns): Bounds => ({
  main: boundOf(row.main_xid, row.main_id),
  late: boundOf(row.late_xid, row.late_id),
});

interface TopicColumns {
  readonly id: number;
  readonly name: string;
  readonly xid: string;
}

const topicOf = ({ id, name, xid }: TopicColumns): NewTopic => ({ id, name, xid: BigInt(xid) });

export const newsOf = (row: NewsColumns): News => ({
  epoch: epochOf(row),
  current: parseSnapshot(row.current),
  newestXid: row.newest_xid === null ? null : BigInt(row.newest_xid),
  purge: BigInt(row.purge),
  topics: row.topics === null ? [] : (JSON.parse(row.topics) as TopicColumns[]).map(topicOf),
});

const lookOf = (row: LookColumns): Look => ({
  ...newsOf(row),
  tick: row.tick === null ? null : parseSnapshot(row.tick),
  tickTop: row.tick_top,
  bounds: boundsOf(row),
});

const epochOf = (row: EpochColumns): EpochState => ({
  newest: {
    id: row.id,
    number: row.number,
    firstId: BigInt(row.first_id),
    snapshot: parseSnapshot(row.snapshot),
  },
  isRunning: row.running,
});

const selectNewestEpoch: Statement<EpochColumns> = sql`
  select ${epochColumns} from pgstream.epochs e order by e.number desc limit 1`;

const selectEpochsSince = (id: string | null): Statement<EpochColumns> => sql`
  select ${epochColumns} from pgstream.epochs e
  ${id === null ? empty : sql`where e.number >= (select o.number from pgstream.epochs o where o.id = ${id}::uuid)`}
  order by e.number`;

const selectPurgedTopics = (
  epoch: Epoch,
  purge: bigint,
  topicIds: readonly number[] | null,
): Statement<PurgedColumns> => sql`
  select p.id as purge, t.name as topic, g.events, g.first_xid::text as first_xid, g.last_xid::text as last_xid,
    p.first_id, p.last_id, p.floor::text as floor,
    p.segment is not null as of_segment, p.done_at is not null as done
  from pgstream.purges p
  join pgstream.purged_topics g on g.purge_id = p.id
  join pgstream.topics t on t.id = g.topic_id
  where p.epoch = ${epoch.number} and p.id > ${purge}
    ${topicIds === null ? empty : sql`and g.topic_id = any(${`{${topicIds.join(",")}}`}::text::integer[])`}
  order by p.id`;

/** @param pooled whether another server may answer each time, unnoticed */
export const makeLog = (client: PostgresClient, pooled = false): Log => {
  const ask = makeAsk(client, pooled);
  const weighing = makeWeighing();
  const pageBy = async (request: PageRequest, statement: Statement<EventColumns>): Promise<Page> => {
    const page = pageOf(await ask(statement), request.eventsMax);
    weighing.learn(page, request);
    return page;
  };
  const look = async (request: LookRequest): Promise<Look> => {
    const [row] = await ask(selectLook(request));
    if (row === undefined) return missing();
    refuseStandby(client, row.standby);
    if (row.tick !== null || !request.expectsTick) return lookOf(row);
    // Not for the newest event alone: in a snapshot from before a crash one that came after it is not seen.
    return await look({ ...request, expectsTick: false });
  };
  return {
    epoch: async () => {
      const [row] = await ask(selectNewestEpoch);
      if (row === undefined) return missing();
      refuseStandby(client, row.standby);
      return epochOf(row);
    },

    epochsSince: async (id) => (await ask(selectEpochsSince(id))).map((row) => epochOf(row).newest),

    bounds: async (epoch, since) => {
      const [row] = await ask(selectBounds(epoch, since));
      return row === undefined ? { main: null, late: null } : boundsOf(row);
    },

    look,

    firstPage: async (request) => await pageBy(request, selectFirstPage(request, weighing)),

    windowEnd: async (request) => {
      const [row] = await ask(selectWindowEnd(request));
      return { late: row?.late ?? null, main: row?.main ?? null, lateEvents: row?.lateEvents ?? 0 };
    },

    nextPage: async (request, end) => await pageBy(request, selectNextPage(request, end, weighing)),

    stepEnd: async (after, last) => {
      const [row] = await ask(selectStepEnd(after, last));
      return row?.id ?? null;
    },

    purgedTopics: async (epoch, purge, topicIds) => {
      const rows = await ask(selectPurgedTopics(epoch, purge, topicIds));
      return rows.map(purgedOf);
    },

    starts: makeLogStarts(ask),
  };
};
