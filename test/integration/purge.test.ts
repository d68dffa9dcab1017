//! Several purgers at once, the dry run, and the role as a process.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openClient } from "../../src/adapters/postgres/client.ts";
import { makePurging, purgeDeadlineMs, purgingSession } from "../../src/adapters/postgres/purge/purge-log.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { type PurgerProgress, runPurger } from "../../src/core/purge/purge-loop.ts";
import type { Purging } from "../../src/core/purge/purge-port.ts";
import { previewPurge } from "../../src/core/purge/purge-preview.ts";
import { silent } from "../../src/library/defaults.ts";
import { openTestClient, targetOf } from "../support/log-database.ts";
import { caught, connect, migrateAs } from "../support/migrator.ts";
import { startOwnServer } from "../support/postgres.ts";
import {
  type Bench,
  dayMs,
  dumpLog,
  openBench,
  openTransaction,
  purgeOptions,
  runRound,
} from "../support/purging.ts";
import { openReader } from "../support/told-reader.ts";
import { waitFor } from "../support/wait-for.ts";

const retentionMs = 7 * dayMs;

/** Three segments past retention, one topic to trim, one that stays, something to forget. */
const fill = async (log: Bench): Promise<void> => {
  await log.setRetention("sessions", "1 hour");
  for (const n of [1, 2, 3]) {
    await log.publish("courses", n);
    await log.roll();
    await log.pass("8 days");
  }
  await log.publish("sessions", 120);
  await log.publish("courses", 2);
  await log.sql`select pgstream.publish('courses', '{}', idempotency_key => 'old')`;
  await log.sql`update pgstream.idempotency_keys set at = at - interval '2 days'`;
  await log.pass("2 hours");
};

/** What is left, without times and the numbers of purges. */
const outcome = async ({ sql }: Bench): Promise<unknown> => ({
  events: await sql`select id, topic_id from pgstream.events order by id`,
  segments:
    await sql`select segment, emptied_at is not null as emptied from pgstream.segments order by segment`,
  purged: await sql`
    select p.segment, p.topic_id, p.done_at is not null as done, t.events
    from pgstream.purges p join pgstream.purged_topics t on t.purge_id = p.id order by p.segment, p.topic_id, p.id`,
  keys: await sql`select key from pgstream.idempotency_keys`,
  ticks: await sql`select count(*) from pgstream.ticks`,
});

const fivePurgers = async (
  log: Bench,
  work: (purging: ReturnType<typeof makePurging>) => Promise<unknown>,
) => {
  await using open = new AsyncDisposableStack();
  const purgings = [1, 2, 3, 4, 5].map(() => makePurging(open.use(openTestClient(log.url))));
  return await Promise.all(purgings.map(work));
};

test("a count that takes too long fails for itself, before its connection is given up, and the round goes on", async () => {
  await using log = await openBench();
  await fill(log);
  await log.sql`
    create or replace function pgstream.announce_segment_purge(
      number integer, floor pg_snapshot, out purge bigint, out events bigint
    ) language plpgsql as $$ begin perform pg_sleep(60); end $$`;
  expect(Number(purgingSession.statement_timeout)).toBeLessThan(purgeDeadlineMs);
  const session = { ...purgingSession, statement_timeout: "300" };
  await using client = openClient(targetOf(log.url), { name: "purger", deadlineMs: 20_000, session });
  const round = await runRound(makePurging(client), { retriesMax: 0, trimBatchesMax: 1 });
  expect(round).toMatchObject({
    segmentsEmptied: 0,
    eventsTrimmed: 100,
    failures: [{ step: "announce the purge of segment 0", retryable: true }],
  });
  expect(round?.rowsForgotten).toBeGreaterThan(0);
});

describe("five purgers", () => {
  test("are one: a single one works, the others stand by", async () => {
    await using alone = await openBench();
    await fill(alone);
    await alone.round();
    await using log = await openBench();
    await fill(log);
    const rounds = await fivePurgers(log, async (purging) => await runRound(purging));
    expect(rounds.filter((it) => it !== null)).toHaveLength(1);
    expect(await outcome(log)).toEqual(await outcome(alone));
  });

  test("that all believe to be the one do no harm", async () => {
    await using alone = await openBench();
    await fill(alone);
    await alone.round();
    await using log = await openBench();
    await fill(log);
    const stubborn = { retriesMax: 100, trimEventsMax: 10 };
    await fivePurgers(log, async (purging) => {
      for (let n = 0; n < 3; n += 1)
        await runRound({ ...purging, lead: async () => await Promise.resolve(true) }, stubborn);
    });
    expect(await outcome(log)).toEqual(await outcome(alone));
  });

  test("hand over when the connection of the one at work ends", async () => {
    await using log = await openBench();
    const first = openTestClient(log.url);
    expect(await makePurging(first).lead()).toBe(true);
    expect(await makePurging(first).lead()).toBe(true);
    expect(await log.purging.lead()).toBe(false);
    await first.end();
    await waitFor(async () => await log.purging.lead(), { what: "the lock to be given back" });
  });
});

describe("a purger that works on when it has lost the lead", () => {
  test("announces no segment of which the next one trimmed a topic since it was counted: nobody is told of that twice", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("courses", 3);
    await log.publish("sessions", 3);
    await log.roll();
    await log.pass("8 days");
    const [topic] = await log.purging.expiredTopics(retentionMs, { counted: false });
    const [segment] = await log.purging.expiredSegments(retentionMs, { counted: false });
    if (topic === undefined || segment === undefined) throw new Error("nothing has expired");
    const trim = await log.purging.announceTopicPurge(topic);
    const { newest } = await makeLog(log.client).epoch();
    let purge = 0n;
    /** Besides what was told before, to one that has read nothing. */
    const told = async () => {
      const reader = await openReader(makeLog(log.client), {
        epoch: newest.id,
        purge,
        seen: newest.snapshot,
        window: null,
      });
      await reader.read();
      purge = reader.cursor().purge;
      return reader.told();
    };

    await using client = openTestClient(log.url);
    await using ticker = openTestClient(log.url);
    const first = makePurging(client, ticker);
    expect(await first.lead()).toBe(true);
    await log.sql`alter function pgstream.announce_segment_purge set lock_timeout = '20 s'`;
    const rolling = await openTransaction(log.url);
    await rolling.sql`select pg_advisory_xact_lock(1885827956, 3)`;
    const announcing = caught(first.announceSegmentPurge(segment));
    const hasCounted = async (): Promise<boolean> =>
      (await log.sql`select from pg_locks where locktype = 'advisory' and not granted`).length > 0;
    await waitFor(hasCounted, { what: "the count" });
    await log.sql`
      select pg_terminate_backend(pid) from pg_locks
      where locktype = 'advisory' and classid = 1885827956 and objid = 5
        and database = (select oid from pg_database where datname = current_database())`;
    await waitFor(async () => await log.purging.lead(), { what: "the next one to lead" });
    expect(await log.purging.trimTopic(trim?.id ?? 0n, 100)).toBe(3);
    const sessions = { topic: "sessions", events: 3, exact: true };
    expect(await told()).toEqual([sessions]);
    await rolling.end("commit");
    await announcing;
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 3n, failures: [] });
    expect(await told()).toEqual([{ topic: "courses", events: 3, exact: true }]);
  });

  test("does not count what the next one emptied", async () => {
    await using log = await openBench();
    await fill(log);
    const { emptySegment } = log.purging;
    const slower: Purging = {
      ...log.purging,
      emptySegment: async (purge) => {
        await emptySegment(purge);
        return await emptySegment(purge);
      },
    };
    expect(await log.round({}, slower)).toMatchObject({ segmentsEmptied: 0, eventsPurged: 0n, failures: [] });
  });
});

test("a purger that stands by takes the ticks over, though no round is due for a day", async () => {
  await using log = await openBench();
  const start = () => {
    const [client, ticker] = [openTestClient(log.url), openTestClient(log.url)];
    const progress: PurgerProgress = {
      obstacle: null,
      tickObstacle: null,
      isLeading: false,
      last: null,
      purgedEvents: 0n,
    };
    const stopping = new AbortController();
    const ports = {
      purging: makePurging(client, ticker),
      schedule: { next: () => null },
      clock: makeClock(),
      random: Math.random,
      logger: silent,
    };
    const reconnect = { delayMsMin: 10, delayMsMax: 100 };
    const options = { ...purgeOptions, tickIntervalMs: 50, reconnect };
    const done = runPurger(ports, options, progress, stopping.signal);
    const stop = async (): Promise<void> => {
      stopping.abort();
      await done;
      await Promise.all([client.end(), ticker.end()]);
    };
    return { progress, stop };
  };
  const first = start();
  await waitFor(() => first.progress.isLeading, { what: "the first to be at work" });
  const second = start();
  await first.stop();
  await waitFor(() => second.progress.isLeading, { what: "the second to be at work" });
  await log.publish("courses");
  await waitFor(async () => (await log.sql`select from pgstream.ticks`).length > 0, { what: "a tick" });
  await second.stop();
});

test("a preview names what would go and changes nothing", async () => {
  await using log = await openBench();
  await fill(log);
  const before = await dumpLog(log.sql);
  const lines = await previewPurge(log.purging, retentionMs);
  expect(await dumpLog(log.sql)).toBe(before);
  expect(lines).toEqual([
    expect.stringMatching(/^segment 0: 1 event, from \S+Z to \S+Z, closed \d+ days ago$/),
    expect.stringMatching(/^segment 1: 2 events, /),
    expect.stringMatching(/^segment 2: 3 events, /),
    "topic sessions: 120 events past its own retention",
    "dry run: nothing was changed",
  ]);
});

describe("the role, as a process", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startOwnServer();
    await migrateAs(server.url());
  }, 60_000);
  afterAll(async () => await server.close());

  const start = (env: Readonly<Record<string, string>>, ...flags: readonly string[]) => {
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../../src/main.ts"), "--roles=purger", ...flags],
      {
        env: { PATH: process.env["PATH"] ?? "", PORT: "0", LOG_FORMAT: "json", ...env },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    let output = "";
    const reading = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) output += text;
    })();
    const ending = async () => {
      const [exitCode, errors] = await Promise.all([child.exited, child.stderr.text()]);
      await reading;
      return { exitCode, output, errors };
    };
    const says = async (text: string) =>
      await waitFor(() => output.includes(text), { what: `"${text}" in the log`, deadlineMs: 20_000 });
    return { child, ending, says };
  };

  test.each(["read committed", "serializable"])(
    "rolls, ticks and purges by itself where the database prefers %s, and ends at SIGTERM with success",
    async (isolation) => {
      await using sql = connect(server.url());
      await sql.unsafe(`alter database postgres set default_transaction_isolation to '${isolation}'`);
      await sql`truncate pgstream.ticks`;
      const { child, ending, says } = start({
        DATABASE_URL: server.url(),
        PURGE_SCHEDULE: "* * * * * *",
        RETENTION: "1s",
        SEGMENT_INTERVAL: "1s",
      });
      await says("the role runs");
      await sql`select pgstream.publish('courses', '{}')`;
      await says("segment emptied");
      // What an operator knows the one at work by.
      const leading = await sql`
        select a.application_name from pg_locks l join pg_stat_activity a using (pid)
        where l.locktype = 'advisory' and l.classid = 1885827956 and l.objid = 5`;
      expect(leading).toMatchObject([{ application_name: "pgstream purger ticks" }]);
      child.kill("SIGTERM");
      const { exitCode, errors } = await ending();
      expect({ exitCode, errors }).toEqual({ exitCode: 0, errors: "" });
      expect(await sql`select count(*)::integer as left from pgstream.events`).toMatchObject([{ left: 0 }]);
      expect(await sql`select from pgstream.ticks`).not.toHaveLength(0);
      await sql`alter database postgres reset default_transaction_isolation`;
    },
    30_000,
  );

  test("with --dry-run says what would go, changes nothing, and ends with success", async () => {
    await using sql = connect(server.url());
    await sql`select pgstream.publish('courses', '{}') from generate_series(1, 5)`;
    for (const statement of ["prepare_segments()", "roll_segment('0 s', 0)", "tick()"])
      await sql.unsafe(`select pgstream.${statement}`);
    await sql`update pgstream.ticks set at = at - interval '1 day'`;
    const before = await dumpLog(sql);
    const { ending } = start({ DATABASE_URL: server.url(), RETENTION: "1s" }, "--dry-run");
    const { exitCode, output } = await ending();
    expect(exitCode).toBe(0);
    const [what, end] = output.trimEnd().split("\n").slice(-2);
    expect(what).toMatch(/^segment \d+: 5 events, /);
    expect(end).toBe("dry run: nothing was changed");
    expect(await dumpLog(sql)).toBe(before);
  });

  test("waits for a database that is down, and can be stopped while it waits", async () => {
    const { child, ending, says } = start({ DATABASE_URL: "postgres://postgres@127.0.0.1:1/nowhere" });
    await says("waiting for the database");
    child.kill("SIGTERM");
    expect(await ending()).toMatchObject({ exitCode: 0 });
  }, 30_000);

  test("goes on after the database was restarted under it", async () => {
    const { child, ending, says } = start({
      DATABASE_URL: server.url(),
      PURGE_SCHEDULE: "* * * * * *",
      LOG_LEVEL: "debug",
    });
    await says('"msg":"purged"');
    await server.kill();
    await says("the purger waits and tries again");
    await server.start();
    await using sql = connect(server.url());
    await waitFor(
      async () => {
        await sql`select pgstream.publish('courses', '{}')`;
        const rows = await sql`select from pgstream.ticks where at > pg_postmaster_start_time()`;
        return rows.length > 0;
      },
      { what: "a tick after the restart", deadlineMs: 30_000 },
    );
    child.kill("SIGTERM");
    expect(await ending()).toMatchObject({ exitCode: 0 });
  }, 60_000);

  test("does not start with a schedule that never comes true: exit code 2, and a line that says so", async () => {
    const { ending } = start({ DATABASE_URL: server.url(), PURGE_SCHEDULE: "0 0 30 2 *" });
    const { exitCode, output } = await ending();
    expect(exitCode).toBe(2);
    expect(output).toContain("PURGE_SCHEDULE: ");
  });
});
