//! Latency: one event every 5 ms, open loop, from the call of publish to the handler that has it in its hands; against the
//! same by hand: insert and commit, then NOTIFY, then one SELECT by whoever listens. Cursors stay in memory here: what a
//! handler does with an event begins where this clock stops.

import { type Checker, checkerOf } from "../checker.ts";
import type { BenchContext, Measure, Row, Usage } from "../context.ts";
import { scaled } from "../context.ts";
import type { Draft } from "../events.ts";
import { makeDrafts, topicNames } from "../events.ts";
import { quantileOf, quantileOfTurns, ratioAtMost, rowOf, takeTurns, type Turn } from "../figures.ts";
import { openPublishers, openReader } from "../log.ts";
import { createRawTable, insertOne, openRaw, topicIdOf, warmUp } from "../raw-table.ts";

const intervalMs = 5;
const eventsFull = 2_000;
/** The first of them prepare statements and warm caches up; they are checked and not counted. */
const warmUpShare = 0.1;
const drainDeadlineMs = 30_000;

/** Who is measured: takes an event, and tells when one of them has arrived. */
interface Course extends AsyncDisposable {
  readonly publish: (draft: Draft) => Promise<unknown>;
  readonly failed: Promise<void>;
}

interface Stopwatch {
  readonly checker: Checker;
  /** Of an event that has arrived. */
  readonly stop: (n: number) => void;
}

type OpenCourse = (watch: Stopwatch) => Promise<Course>;

/** Calls at their appointed time, whatever became of the earlier calls. */
const callOnTime = async (
  drafts: readonly Draft[],
  signal: AbortSignal,
  call: (draft: Draft) => void,
): Promise<void> => {
  const startedAtMs = performance.now();
  for (const [index, draft] of drafts.entries()) {
    signal.throwIfAborted();
    await Bun.sleep(Math.max(0, startedAtMs + index * intervalMs - performance.now()));
    call(draft);
  }
};

const race = async (context: BenchContext, drafts: readonly Draft[], who: string, open: OpenCourse) => {
  const checker = checkerOf(who, drafts);
  const calledAtMs = new Float64Array(drafts.length);
  const latenciesMs: number[] = [];
  const arrived = Promise.withResolvers<void>();
  let arrivedCount = 0;
  const stop = (n: number): void => {
    if (n >= drafts.length * warmUpShare) latenciesMs.push(performance.now() - (calledAtMs[n] ?? 0));
    arrivedCount += 1;
    if (arrivedCount === drafts.length) arrived.resolve();
  };
  await using course = await open({ checker, stop });
  const meter = await context.startMeter();
  const answers: Promise<unknown>[] = [];
  await callOnTime(drafts, context.signal, (draft) => {
    calledAtMs[draft.data.n] = performance.now();
    answers.push(course.publish(draft));
  });
  await Promise.all(answers);
  await Promise.race([arrived.promise, course.failed, Bun.sleep(drainDeadlineMs)]);
  const usage: Usage = await meter.read();
  checker.finish();
  const turn: Turn = {
    value: quantileOf(latenciesMs, 0.5),
    usage,
    amount: drafts.length,
    samples: latenciesMs,
  };
  return turn;
};

const openPgstream =
  (database: string): OpenCourse =>
  async ({ checker, stop }) => {
    await using opening = new AsyncDisposableStack();
    const { publishers } = opening.use(await openPublishers(database, 1));
    const reader = opening.use(
      openReader({
        database,
        from: "latest",
        until: Infinity,
        cursor: null,
        checker: {
          ...checker,
          see: (event) => {
            checker.see(event);
            stop((event.data as Draft["data"]).n);
          },
        },
      }),
    );
    await reader.live();
    const opened = opening.move();
    return {
      publish: async (draft) => await publishers[0]?.publish(draft),
      failed: reader.failed,
      [Symbol.asyncDispose]: async () => await opened.disposeAsync(),
    };
  };

interface RawRow {
  readonly id: bigint;
  readonly topic_id: number;
  readonly key: string | null;
  readonly data: string;
}

/** By hand: one connection to write, one that listens, one that reads; a hint during a read means to read again. */
const openByHand =
  (database: string): OpenCourse =>
  async ({ checker, stop }) => {
    await using opening = new AsyncDisposableStack();
    const connect = () => opening.adopt(openRaw(database, 1), async (it) => await it.end({ timeout: 1 }));
    const [writer, reader] = [connect(), connect()];
    await createRawTable(writer);
    await Promise.all([warmUp(writer), warmUp(reader)]);
    const names = new Map(topicNames.map((name) => [topicIdOf(name), name]));
    const failed = Promise.withResolvers<void>();
    let after = 0n;
    let isHinted = false;
    let isReading = false;
    const look = async (): Promise<void> => {
      isHinted = true;
      if (isReading) return;
      isReading = true;
      while (isHinted) {
        isHinted = false;
        const rows = await reader<RawRow[]>`
          select id, topic_id, created_at, key, type, headers::text as headers, data::text as data
          from raw where id > ${after} order by id limit 1000`;
        for (const { id, topic_id, key, data } of rows) {
          const decoded = JSON.parse(data) as Draft["data"];
          checker.see({ topic: names.get(topic_id) ?? "", key, data: decoded });
          stop(decoded.n);
          after = id;
        }
      }
      isReading = false;
    };
    await reader.listen("raw", () => void look().catch(failed.reject));
    const opened = opening.move();
    return {
      publish: async (draft) => {
        await insertOne(writer, draft);
        await writer`select pg_notify('raw', '')`;
      },
      failed: failed.promise,
      [Symbol.asyncDispose]: async () => await opened.disposeAsync(),
    };
  };

export const latency: Measure = {
  name: "latency",
  about: "one event per 5 ms, from publish to handler, beside insert, NOTIFY and SELECT by hand",
  rounds: 9,
  run: async (context) => {
    const drafts = makeDrafts(Math.max(100, scaled(context, eventsFull)));
    const turn = async (kind: "migrated" | "empty"): Promise<Turn> => {
      await using database = await context.createDatabase(kind);
      return kind === "migrated"
        ? await race(context, drafts, "latency", openPgstream(database.url))
        : await race(context, drafts, "latency by hand", openByHand(database.url));
    };
    const [pgstream, byHand] = await takeTurns(context, [
      { name: "pgstream, p50 in ms", run: async () => await turn("migrated") },
      { name: "by hand, p50 in ms", run: async () => await turn("empty") },
    ]);
    const limitIs = "commit, `NOTIFY`, `select`";
    const details = { events: drafts.length, intervalMs };
    const p50: Row = rowOf(
      {
        measure: "latency, p50",
        unit: "ms",
        limitIs,
        must: ratioAtMost(1.1),
        wanted: (_, figure) => ({ text: "≤ 0.8 ms", isReached: figure <= 0.8 }),
        details,
      },
      quantileOfTurns(pgstream, 0.5),
      quantileOfTurns(byHand, 0.5),
    );
    const p99: Row = rowOf(
      { measure: "latency, p99", unit: "ms", limitIs, must: ratioAtMost(1.1), wanted: null, details },
      quantileOfTurns(pgstream, 0.99),
      quantileOfTurns(byHand, 0.99),
    );
    return { rows: [p50, p99] };
  },
};
