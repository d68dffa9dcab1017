//! A live read holds what it claims to have seen, and tells what it lacks: page and news are of one snapshot, which is not older
//! than the locks of the page, but may be younger than its plan.

import { describe, expect, test } from "bun:test";

import { openClient } from "../../src/adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../../src/adapters/postgres/read/live-log.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import type { News } from "../../src/core/log.ts";
import { makeWantedTopics } from "../../src/core/read/wanted-topics.ts";
import { sees, type Snapshot } from "../../src/core/snapshot.ts";
import type { LiveRead } from "../../src/core/tail/tail-reader.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { requestFrom } from "../support/live-request.ts";
import { targetOf } from "../support/log-database.ts";
import { caught } from "../support/migrator.ts";
import { openBench, openTransaction } from "../support/purging.ts";
import { openReadBench, publish, roll } from "../support/read-bench.ts";
import { waitFor } from "../support/wait-for.ts";

interface Circumstances {
  /** Reads before, which decide whether the statement is planned already. */
  readonly earlierReads: number;
  readonly isolation: string;
  readonly pooled: boolean;
}

/** Reads while a segment is emptied: the read has begun, and then the purge is announced and the segment emptied. */
const readAcrossPurge = async ({ earlierReads, isolation, pooled }: Circumstances): Promise<LiveRead> => {
  await using log = await openBench();
  await log.publish("courses", 7);
  const session = { ...liveSession, default_transaction_isolation: isolation };
  await using client = openClient(targetOf(log.url), { name: "live", deadlineMs: 20_000, session });
  const live = makeLiveLog(client, pooled);
  const { newest: epoch } = await makeLog(client).epoch();
  const read = async (): Promise<LiveRead> => await live.read(requestFrom(epoch));
  for (let n = 0; n < earlierReads; n += 1) {
    const { page, news } = await read();
    expect([page.rows.length, news.purge]).toEqual([7, 0n]);
  }

  const emptying = await openTransaction(log.url);
  await emptying.sql`lock table pgstream.events_0 in access exclusive mode`;
  const reading = read();
  const isWaiting = async (): Promise<boolean> => {
    const rows = await log.sql`
      select from pg_locks
      where relation = 'pgstream.events_0'::regclass and mode = 'AccessShareLock' and not granted`;
    return rows.length > 0;
  };
  await waitFor(isWaiting, { what: "the read to wait for the segment" });
  await log.sql`
    insert into pgstream.purges (epoch, floor, segment, first_id, last_id)
    values (${epoch.number}, pg_current_snapshot(), 0, 0, 7)`;
  await emptying.sql`truncate pgstream.events_0`;
  await emptying.end("commit");
  return await reading;
};

describe("a live read that a purge overtakes", () => {
  for (const earlierReads of [0, 1, 8]) {
    test(`lacks the events and tells of the purge, after ${earlierReads} earlier reads`, async () => {
      const { page, news } = await readAcrossPurge({
        earlierReads,
        isolation: liveSession.default_transaction_isolation,
        pooled: false,
      });
      expect([page.rows.length, news.purge]).toEqual([0, 1n]);
    });
  }

  test("tells of it through a pooler, too, whatever the session's isolation", async () => {
    const { page, news } = await readAcrossPurge({
      earlierReads: 1,
      isolation: "repeatable read",
      pooled: true,
    });
    expect([page.rows.length, news.purge]).toEqual([0, 1n]);
  });

  test("would say nothing where the snapshot is older than the locks", async () => {
    const { page, news } = await readAcrossPurge({
      earlierReads: 1,
      isolation: "repeatable read",
      pooled: false,
    });
    expect([page.rows.length, news.purge]).toEqual([0, 0n]);
  });
});

describe("a live read that a segment overtakes", () => {
  const waitsFor = ["pgstream.purges", "pgstream.events_0"];
  // What makes the statement be planned anew.
  const changes = [
    "vacuum full pgstream.epochs",
    "alter table only pgstream.events alter column key set statistics -1",
  ];
  for (const earlierReads of [0, 1, 8]) {
    for (const locked of waitsFor) {
      for (const change of changes) {
        test(`has its event, when it waits for ${locked}, after ${earlierReads} earlier reads and ${change}`, async () => {
          await using bench = await openReadBench();
          const [session, holder, watcher] = [bench.session(), bench.session(), bench.session()];
          await publish(session);
          await roll(session);
          await publish(session);
          await using client = openClient(targetOf(bench.url), {
            name: "live",
            deadlineMs: 20_000,
            session: liveSession,
          });
          const live = makeLiveLog(client);
          const { newest: epoch } = await bench.log.epoch();
          const request = requestFrom(epoch);
          for (let n = 0; n < earlierReads; n += 1) await live.read(request);
          await session.unsafe(change);
          await holder`begin`;
          await holder.unsafe(`lock table ${locked} in access exclusive mode`);
          const reading = live.read(request);
          const isWaiting = async (): Promise<boolean> => {
            const rows = await watcher`
              select from pg_locks where not granted and relation = ${locked}::text::regclass`;
            return rows.length > 0;
          };
          await waitFor(isWaiting, { what: "the read to wait" });
          await roll(session); // to a segment that was not there when the read was planned
          const id = await publish(session);
          const [row] = await session<{ xid: string }[]>`
            select xid::text as xid from pgstream.events where id = ${String(id)}::text::bigint`;
          await holder`commit`;
          const { page, current } = await reading;
          expect(sees(current, BigInt(row?.xid ?? 0))).toBe(true);
          expect(page.rows.map((it) => it.id)).toContain(id);
        });
      }
    }
  }
});

test("topics whose xids lie ahead of the server, as a restore leaves them, are told to whoever knows of none, and not again", async () => {
  await using bench = await openReadBench();
  const session = bench.session();
  await session`insert into pgstream.topics (name, xid) select 'restored.' || n, '1000000000000' from generate_series(1, 50) n`;
  await using client = openClient(targetOf(bench.url), {
    name: "live",
    deadlineMs: 20_000,
    session: liveSession,
  });
  const log = makeLog(client);
  const live = makeLiveLog(client, false);
  const { newest: epoch } = await log.epoch();
  const ask = async (topicsSince: Snapshot): Promise<readonly News[]> => {
    const bound = epoch.firstId - 1n;
    const look = await log.look({ since: epoch.snapshot, epoch, bound, topicsSince, expectsTick: false });
    return [look, (await live.read(requestFrom(epoch, { topicsSince }))).news];
  };
  const wanted = makeWantedTopics(parseTopicPatterns(["restored.*"]));
  for (const news of await ask(wanted.since())) {
    expect(news.topics.filter(({ name }) => name.startsWith("restored."))).toHaveLength(50);
    wanted.learn(news);
  }
  for (const news of await ask(wanted.since())) expect(news.topics).toEqual([]);
  await publish(session, "restored.later");
  for (const news of await ask(wanted.since()))
    expect(news.topics).toMatchObject([{ name: "restored.later" }]);
});

test("a log that has no epoch is said to be not migrated, by whatever is asked first", async () => {
  await using bench = await openReadBench();
  const { newest: epoch } = await bench.log.epoch();
  const session = bench.session();
  await session`truncate pgstream.epochs cascade`;
  const own = { name: "live", deadlineMs: 20_000, session: liveSession };
  await using client = openClient(targetOf(bench.url), own);
  const since = epoch.snapshot;
  const look = { since, epoch, bound: 0n, topicsSince: since, expectsTick: false };
  for (const pooled of [false, true]) {
    const log = makeLog(client, pooled);
    const live = makeLiveLog(client, pooled);
    for (const asking of [log.epoch(), log.look(look), live.read(requestFrom(epoch))]) {
      expect(await caught(asking)).toMatchObject({ code: "not_migrated" });
    }
  }
});
