//! A live read's plan is made once, whatever the statistics say by then or lack: it goes by xid, and touches no more however many
//! events there are in the segment. Buffers, not time.

import { afterAll, beforeAll, expect, test } from "bun:test";

import type postgres from "postgres";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openClient } from "../../src/adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../../src/adapters/postgres/read/live-log.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { makeSnapshot, parseSnapshot, type Snapshot } from "../../src/core/snapshot.ts";
import { type GrowthBench, openGrowthBench } from "../support/growth-bench.ts";
import { liveThrough, makeTopics } from "../support/growth-log.ts";
import { meterSettings, openMeter, total } from "../support/growth-meter.ts";
import { targetOf } from "../support/log-database.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { publish } from "../support/read-bench.ts";

/** The events of a segment fill a thousand pages; a read that goes by id would look at all of them. */
const buffersMax = 60;

const few = { segments: 1, transactionsPerSegment: 5, eventsPerTransaction: 10, topics: 50 };
const many = { segments: 1, transactionsPerSegment: 200, eventsPerTransaction: 500, topics: 50 };

const histories: Readonly<Record<string, (sql: postgres.Sql) => Promise<void>>> = {
  "nobody has analysed": async (sql) => {
    await liveThrough(sql, many);
  },
  "was analysed when it was empty": async (sql) => {
    await sql`analyze`;
    await liveThrough(sql, many);
  },
  "was analysed when there were few events": async (sql) => {
    await liveThrough(sql, few);
    await sql`vacuum analyze`;
    await liveThrough(sql, many);
  },
  "has been analysed": async (sql) => {
    await liveThrough(sql, many);
    await sql`vacuum analyze`;
  },
};

const currentSnapshot = async (sql: postgres.Sql): Promise<Snapshot> => {
  const [row] = await sql<{ now: string }[]>`select pg_current_snapshot()::text as now`;
  return parseSnapshot(row?.now ?? "");
};

describeOnPostgres([15, 18], "a live read of a log that", (version) => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startOwnServer({ version, settings: { ...meterSettings, fsync: "off" } });
  });
  afterAll(async () => {
    await server.close();
  });

  const buffersOf = async (bench: GrowthBench, since: Snapshot, topicIds: readonly number[] | null) => {
    const session = { name: "live", deadlineMs: 20_000, session: liveSession };
    await using client = openClient(targetOf(bench.url), session);
    await using meter = await openMeter(client, server.url(), new URL(bench.url).pathname.slice(1));
    const { newest: epoch } = await makeLog(client).epoch();
    const bound = epoch.firstId - 1n;
    const live = makeLiveLog(meter.client);
    const request = { since, epoch, topicIds, topicsSince: since, identify: false };
    const limits = { mainBound: bound, lateBound: bound, eventsMax: 5_000, bytesMax: 2 ** 22 };
    const read = async () => await live.read({ ...request, ...limits });
    await read();
    meter.take();
    const { page } = await read();
    return { events: page.rows.length, buffers: total(meter.take()).buffers };
  };

  test.each(Object.entries(histories))("%s goes by xid", async (_, fill) => {
    await using bench = await openGrowthBench(server);
    await makeTopics(bench.sql, "m", 2_000);
    await fill(bench.sql);
    await publish(bench.sql, "m.1");
    const since = await currentSnapshot(bench.sql);
    await publish(bench.sql, "m.1");
    const rows = await bench.sql<{ id: number }[]>`select id from pgstream.topics order by name <> 'm.1', id`;
    const topics = rows.map(({ id }) => id);
    for (const topicIds of [null, topics.slice(0, 3), topics]) {
      for (const late of [[], [since.xmax - 1n]]) {
        const { buffers, events } = await buffersOf(bench, makeSnapshot(since.xmax, late), topicIds);
        const what = { topics: topicIds?.length, late: late.length };
        expect({ ...what, events }).toEqual({ ...what, events: 1 + late.length });
        expect({ ...what, buffers: Math.max(buffers, buffersMax) }).toEqual({ ...what, buffers: buffersMax });
      }
    }
  });
});
