//! Fan-out: five subscriptions of everything while it is published, in one process and in five; against one subscription
//! that catches up on as many events. Publishers and subscribers are processes apart from this one; each subscription
//! commits its own cursor per batch.

import { type Child, type Job, startChild } from "../children.ts";
import { type BenchContext, type Measure, scaled } from "../context.ts";
import { makeDrafts } from "../events.ts";
import { type Question, ratioAtLeast, rowOf, takeTurns, timed, type Turn } from "../figures.ts";
import { fillLog } from "../log.ts";

const eventsFull = 600_000;
const publishers = 4;
const subscriptions = 5;

const jobOf = (database: string, events: number, job: Partial<Job>): Job => ({
  kind: "subscribe",
  database,
  events,
  publishers,
  subscriptions: 1,
  name: "fan-out",
  from: "latest",
  ...job,
});

const runAll = async (children: readonly Child[]): Promise<void> => {
  for (const child of children) child.go();
  await Promise.all(children.map(async (child) => await child.done));
};

/** @param processes into which the subscriptions are shared out */
const fanOutTurn = async (context: BenchContext, events: number, processes: number): Promise<Turn> => {
  await using database = await context.createDatabase();
  await using children = new AsyncDisposableStack();
  const start = async (job: Partial<Job>): Promise<Child> =>
    children.use(await startChild(jobOf(database.url, events, job)));
  const publishing = await start({ kind: "publish", name: "fan-out-publisher" });
  const subscribing: Child[] = [];
  for (let index = 0; index < processes; index += 1) {
    subscribing.push(await start({ name: `fan-out-${index}`, subscriptions: subscriptions / processes }));
  }
  return await timed(context, events * subscriptions, async () => {
    await runAll([publishing, ...subscribing]);
  });
};

const catchUpTurn = async (context: BenchContext, events: number, database: string): Promise<Turn> => {
  await using child = await startChild(jobOf(database, events, { name: "catch-up", from: "earliest" }));
  return await timed(context, events, async () => {
    await runAll([child]);
  });
};

export const fanOut: Measure = {
  name: "fan-out",
  about: "5 subscriptions in one process, and in 5, while it is published, beside catch-up of one",
  run: async (context) => {
    const events = scaled(context, eventsFull, publishers);
    await using filled = await context.createDatabase();
    await fillLog(filled.url, makeDrafts(events, publishers), publishers);
    const [one, five, catchUp] = await takeTurns(context, [
      { name: "one process", run: async () => await fanOutTurn(context, events, 1) },
      { name: "five processes", run: async () => await fanOutTurn(context, events, subscriptions) },
      { name: "catch-up of one", run: async () => await catchUpTurn(context, events, filled.url) },
    ]);
    const question: Question = {
      measure: "fan-out, 5 subscriptions in one process",
      unit: "deliveries/s",
      limitIs: "catch-up of one",
      must: ratioAtLeast(1),
      wanted: ratioAtLeast(2),
      details: { events, subscriptions },
    };
    const apart = { ...question, measure: "fan-out, 5 processes", must: null, wanted: null };
    return { rows: [rowOf(question, one, catchUp), rowOf(apart, five, catchUp)] };
  },
};
