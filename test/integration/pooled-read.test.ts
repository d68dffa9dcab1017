//! Behind a pooler that takes statements to a primary and to a standby that lags behind: what the standby answers is refused,
//! whichever statement it is, and so nothing is lost, nor gone unreported.

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openClient, type PostgresClient } from "../../src/adapters/postgres/client.ts";
import { makePurging } from "../../src/adapters/postgres/purge/purge-log.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import type { Cursor } from "../../src/core/cursor.ts";
import { isRetryable } from "../../src/core/errors.ts";
import type { TopicGap } from "../../src/core/gap.ts";
import type { Epoch, Log, LogStarts, LookRequest, PageRequest, WindowEnd } from "../../src/core/log.ts";
import { makeReader } from "../../src/core/read/reader.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { startLaggingStandby } from "../support/lagging-standby.ts";
import { migrate, targetOf } from "../support/log-database.ts";
import { asUser, caught, connect } from "../support/migrator.ts";
import { plantFunctions } from "../support/planted-functions.ts";
import { describeOnPostgres, startOwnServer } from "../support/postgres.ts";
import { runRound } from "../support/purging.ts";
import { openReadBench, publish, type ReadBench, roll } from "../support/read-bench.ts";

/** As a pooler hands it out: without settings of the session, nor prepared statements. */
const openPooled = (url: string): PostgresClient =>
  openClient(targetOf(url), { name: "pooled", deadlineMs: 20_000, ownConnection: false });

/** Where to look, and what for. */
interface Place {
  readonly epoch: Epoch;
  readonly look: LookRequest;
  readonly page: PageRequest;
  readonly end: WindowEnd;
  readonly at: Date;
  readonly id: bigint;
}

type Call = (log: Log, place: Place) => Promise<unknown>;

/** Each statement there is. */
const calls: Readonly<Record<Exclude<keyof Log, "starts"> | keyof LogStarts, Call>> = {
  epoch: async (log) => await log.epoch(),
  stepEnd: async (log) => await log.stepEnd(0n, 1n << 40n),
  epochsSince: async (log, { epoch }) => await log.epochsSince(epoch.id),
  bounds: async (log, { epoch, page }) => await log.bounds(epoch, page.until),
  look: async (log, { look }) => await log.look(look),
  firstPage: async (log, { page }) => await log.firstPage(page),
  windowEnd: async (log, { page }) => await log.windowEnd(page),
  nextPage: async (log, { page, end }) => await log.nextPage(page, end),
  purgedTopics: async (log, { epoch }) => await log.purgedTopics(epoch, 0n, null),
  floor: async (log, { epoch }) => await log.starts.floor(epoch),
  tickBy: async (log, { epoch, at }) => await log.starts.tickBy(epoch, at),
  ticksAround: async (log, { epoch, id }) => await log.starts.ticksAround(epoch, id),
  lastId: async (log) => await log.starts.lastId(),
};

/** Three events, a standby that has them, and then a purge of the three and seven more events. */
describeOnPostgres([15, 18], "a reader behind a pooler", (version) => {
  let primary: PostgresServer;
  let standby: PostgresServer;
  let later: readonly bigint[];
  beforeAll(async () => {
    // Nobody is to use up transaction ids but us.
    primary = await startOwnServer({ version, settings: { autovacuum: "off" } });
    await migrate(primary.url());
    {
      await using before = await openReadBench(primary.url());
      const early = before.session();
      for (let n = 0; n < 3; n += 1) await publish(early);
    }
    standby = await startLaggingStandby(primary, version);
    await using bench = await openReadBench(primary.url());
    const session = bench.session();
    await session`select pgstream.tick()`;
    await roll(session);
    await session`update pgstream.ticks set at = at - interval '8 days'`;
    await session`
      update pgstream.segments
      set attached_at = attached_at - interval '8 days', opened_at = opened_at - interval '8 days'`;
    expect(await runRound(makePurging(bench.client))).toMatchObject({ segmentsEmptied: 1, failures: [] });
    const ids: bigint[] = [];
    for (let n = 0; n < 7; n += 1) {
      ids.push(await publish(session));
      if (n === 3) await session`select pgstream.tick()`;
    }
    later = ids;
  });
  afterAll(async () => {
    await standby.close();
    await primary.close();
  });

  let bench: ReadBench;
  let onPrimary: PostgresClient;
  let onStandby: PostgresClient;
  beforeEach(async () => {
    bench = await openReadBench(primary.url());
    onPrimary = openPooled(primary.url());
    onStandby = openPooled(standby.url());
  });
  afterEach(async () => {
    for (const it of [onPrimary, onStandby, bench]) await it[Symbol.asyncDispose]();
  });

  /** One where everything finds something, and one where nothing does that may find nothing. */
  const places = async (): Promise<Readonly<Record<"much" | "nothing", Place>>> => {
    const { newest: epoch } = await bench.log.epoch();
    const look = { since: epoch.snapshot, epoch, bound: 0n, topicsSince: epoch.snapshot, expectsTick: false };
    const { current } = await bench.log.look(look);
    const page = {
      since: epoch.snapshot,
      until: current,
      after: 0n,
      late: [],
      lateBound: 0n,
      mainBound: 0n,
      top: later.at(-1) ?? 0n,
      topicIds: null,
      eventsMax: 100,
      bytesMax: 2 ** 20,
    };
    const end = await bench.log.windowEnd(page);
    const now = { since: current, topicsSince: current };
    const unknown = { ...epoch, id: "00000000-0000-4000-8000-000000000000", number: 99 };
    return {
      much: { epoch, look, page, end, at: new Date(), id: later[1] ?? 0n },
      nothing: {
        epoch: unknown,
        look: { ...look, ...now, epoch: unknown },
        page: { ...page, since: current },
        end,
        at: new Date(0),
        id: 0n,
      },
    };
  };

  test.each(Object.entries(calls))(
    "has the same answers of the primary, and none of the standby: %s",
    async (_, call) => {
      for (const place of Object.values(await places())) {
        expect(await call(makeLog(onPrimary, true), place)).toStrictEqual(await call(bench.log, place));
        const refused = await caught(call(makeLog(onStandby, true), place));
        expect(refused).toMatchObject({ code: "standby", retryable: true });
      }
    },
  );

  test("is told by the look alone where a connection is its own, and that refuses the standby, too", async () => {
    const { much } = await places();
    for (const call of [calls.epoch, calls.look]) {
      const refused = await caught(call(makeLog(onStandby), much));
      expect(refused).toMatchObject({ code: "standby", retryable: true });
    }
  });

  test("calls no function that somebody planted in public, whatever it asks", async () => {
    await using admin = connect(primary.url());
    await plantFunctions(admin);
    await admin`create role robbed login superuser password 'secret'`;
    await admin`alter role robbed set search_path = public, pg_catalog`;
    try {
      await using robbed = openPooled(asUser(primary.url(), "robbed", "secret"));
      for (const call of Object.values(calls)) {
        for (const place of Object.values(await places())) {
          expect(await call(makeLog(robbed, true), place)).toStrictEqual(await call(bench.log, place));
        }
      }
    } finally {
      await admin.unsafe("drop role robbed; drop schema public cascade; create schema public");
    }
  });

  /** Reads all there is from before the purge; where something is in the way that may pass, from where it stood then. */
  const readThrough = async (log: Log) => {
    const { newest: epoch } = await bench.log.epoch();
    const [ids, gaps, errors]: [bigint[], TopicGap[], unknown[]] = [[], [], []];
    let cursor: Cursor = { epoch: epoch.id, purge: 0n, seen: epoch.snapshot, window: null };
    const readOn = async (): Promise<void> => {
      const reader = makeReader(log, cursor, {
        filter: parseTopicPatterns([">"]),
        epoch,
        batchEventsMax: 2,
        pageEventsMax: 2,
        pageBytesMax: 2 ** 20,
        onGap: (gap) => void gaps.push(...gap),
      });
      for (let batch = await reader.next(); batch !== null; batch = await reader.next()) {
        ({ cursor } = batch);
        ids.push(...batch.events.map(({ id }) => id));
      }
    };
    for (;;) {
      try {
        await readOn();
        return { ids, gaps, errors };
      } catch (error) {
        if (!isRetryable(error)) throw error;
        errors.push(error);
      }
    }
  };

  test("loses nothing and is told of what is gone, whichever of its statements goes to the standby", async () => {
    let isReached = true;
    for (let chosen = 0; isReached; chosen += 1) {
      let asked = 0;
      const pooler: PostgresClient = {
        ...onPrimary,
        run: async (statement, deadlineMs) => {
          const client = asked === chosen ? onStandby : onPrimary;
          asked += 1;
          return await client.run(statement, deadlineMs);
        },
      };
      const { ids, gaps, errors } = await readThrough(makeLog(pooler, true));
      isReached = asked > chosen;
      expect({ chosen, ids, gaps, errors }).toMatchObject({
        chosen,
        ids: [...later],
        gaps: [{ topic: "t", events: 3, exact: true }],
        errors: isReached ? [{ code: "standby" }] : [],
      });
    }
  });
});
