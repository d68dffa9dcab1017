//! What a look costs that finds nothing: buffers touched and locks taken, first in a small log, then in one that has grown in
//! every way. Counted by a server of its own, which keeps count and takes 1,100 connections; nothing here is timed.

import {
  type GrowthBench,
  openCountedReader,
  openGrowthBench,
  startGrowthServer,
} from "../../test/support/growth-bench.ts";
import { liveThrough, makeTopics } from "../../test/support/growth-log.ts";
import { total, type Work } from "../../test/support/growth-meter.ts";
import { openCountedTail } from "../../test/support/growth-tail.ts";
import { type BenchContext, type Measure, type Row, scaled } from "../context.ts";
import { openRaw } from "../raw-table.ts";
import { eventsWanted, growLog } from "./grown-log.ts";
import { rowOfFigure } from "./rows.ts";

type Server = Awaited<ReturnType<typeof startGrowthServer>>;

/** How far it grows in every other way. */
const extentOf = ({ scale }: BenchContext) => {
  const some = { scale: Math.min(1, scale) };
  return { topics: scaled(some, 10_000), open: scaled(some, 1_000), segments: scaled(some, 1_000) };
};

interface Poll {
  readonly alone: Work;
  readonly shared: Work;
}

const pollOnce = async (server: Server, bench: GrowthBench, patterns: readonly string[]): Promise<Poll> => {
  await using reader = await openCountedReader(server, bench, { topics: patterns, from: { kind: "latest" } });
  while ((await reader.next()) !== null);
  reader.take();
  await reader.next();
  const alone = total(reader.take());
  await using tail = await openCountedTail(server, bench, patterns);
  await tail.poll();
  await tail.poll();
  tail.take();
  await tail.poll();
  return { alone, shared: total(tail.take()) };
};

/** Transactions that stay open in another database until they are disposed of. */
const openElsewhere = async (server: Server, count: number): Promise<AsyncDisposable> => {
  await using opening = new AsyncDisposableStack();
  for (let n = 0; n < count; n += 1) {
    const sql = opening.adopt(openRaw(server.url("postgres"), 1), async (it) => await it.end({ timeout: 1 }));
    await sql`begin`;
    await sql`select pg_current_xact_id()`;
  }
  return opening.move();
};

const rowsOf = (
  grown: string,
  few: Poll,
  many: Poll,
  stages: Readonly<Record<string, Poll>>,
): readonly Row[] =>
  (["alone", "shared"] as const).flatMap((who) =>
    (["buffers", "locks"] as const).map((unit) =>
      rowOfFigure({
        measure: `idle poll${who === "shared" ? " of the shared tail" : ""}, ${grown}`,
        unit,
        value: many[who][unit],
        beside: { value: few[who][unit], is: "1 topic, 1 segment, 10,000 events" },
        must: (value) => ({
          text: "the same",
          isReached: value <= few[who][unit] + (unit === "buffers" ? 10 : 0),
        }),
        details: {
          statements: many[who].statements,
          stages: Object.fromEntries(Object.entries(stages).map(([what, poll]) => [what, poll[who]])),
        },
      }),
    ),
  );

const measureIdle = async (context: BenchContext): Promise<readonly Row[]> => {
  const { topics, open, segments } = extentOf(context);
  await using server = await startGrowthServer({
    max_connections: open + 100,
    max_locks_per_transaction: 128,
  });
  await using bench = await openGrowthBench(server);
  const history = { segments: 1, transactionsPerSegment: 10, eventsPerTransaction: 1_000 };
  const events = eventsWanted(context);
  const stages: Record<string, Poll> = {};
  const stage = async (what: string, patterns: readonly string[]): Promise<Poll> => {
    const poll = await pollOnce(server, bench, patterns);
    const text = (["alone", "shared"] as const).map(
      (who) => `${who} ${poll[who].buffers} and ${poll[who].locks}`,
    );
    context.say(`  ${what}: buffers and locks ${text.join(", ")}`);
    stages[what] = poll;
    context.signal.throwIfAborted();
    return poll;
  };
  await makeTopics(bench.sql, "few", 1);
  await liveThrough(bench.sql, history);
  const few = await stage("1 topic, 1 segment, 10,000 events", ["few.1"]);
  await growLog(context, bench.url, { events, segments: 1, topics });
  const names = Array.from({ length: topics }, (_, n) => `topic.${n + 1}`);
  await stage(`${events} events`, ["few.1"]);
  await stage(`${events} events, ${topics} topics`, names);
  await liveThrough(bench.sql, {
    firstSegment: 1,
    segments,
    transactionsPerSegment: 2,
    eventsPerTransaction: 10,
    topics,
  });
  await stage(`${events} events, ${topics} topics, ${segments} segments`, names);
  await using _ = await openElsewhere(server, open);
  await liveThrough(bench.sql, { ...history, topics });
  const all = `${events.toLocaleString("en-US")} events, ${topics} topics, ${segments} segments, ${open} open transactions`;
  return rowsOf(all, few, await stage(all, names), stages);
};

export const growthIdle: Measure = {
  name: "growth-idle",
  about: "buffers and locks of a look that finds nothing, in a log that has grown in every way",
  run: async (context) => ({ rows: await measureIdle(context) }),
};
