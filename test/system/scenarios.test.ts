//! Both scenarios as a person would play them, with the compiled binary: every role its own process and its own login.

import { describe, expect, test } from "bun:test";

import { describeWithMongo, type TestMongo } from "../support/mongo.ts";
import { waitFor } from "../support/wait-for.ts";
import { run } from "./support/processes.ts";
import { eventCount, openStage, type Stage, takeStock, untilEvents, untilHandled } from "./support/stage.ts";

const timeoutMs = 120_000;
/** The example has a hundred policies, and every second event updates one of them. */
const enough = 240;

/** The set of events, the set of receipts and the documents: all say the same. */
const expectEverythingHandled = async (stage: Stage): Promise<void> => {
  const verified = await run(stage.settings("consumer"), "verify");
  expect(verified.output).toContain("the log and the store agree");
  expect(verified.code).toBe(0);
  const stock = await takeStock(stage);
  expect(stock.receiptIds).toEqual(stock.eventIds);
  expect(stock.courses).toHaveLength(stock.coursesCreated);
  // Policies were updated more than once, so that their order matters.
  expect(stock.policiesUpdated).toBeGreaterThan(stock.policies.length);
  expect(new Map(stock.courses.map((it) => [it["CourseId"], it] as const))).toEqual(
    new Map<unknown, Readonly<Record<string, unknown>>>([...stock.expected.courses] as never),
  );
  expect(new Map(stock.policies.map((it) => [it["PolicyId"], it] as const))).toEqual(
    new Map<unknown, Readonly<Record<string, unknown>>>([...stock.expected.policies] as never),
  );
};

/** Whom the server knows the roles as. */
const loginsAtWork = async (stage: Stage): Promise<readonly string[]> => {
  const rows = await stage.query<{ usename: string }>(
    "select distinct usename from pg_stat_activity where application_name like 'pgstream %' order by 1",
  );
  return rows.map(({ usename }) => usename);
};

const consumerDown = async (mongo: TestMongo | null, signal: "SIGTERM" | "SIGKILL"): Promise<void> => {
  await using stage = await openStage(mongo);
  await stage.migrate();
  await using producer = await stage.start("producer");
  await using purger = await stage.start("purger");
  {
    await using consumer = await stage.start("consumer");
    await untilEvents(stage, 60);
    await waitFor(
      async () => Number((await consumer.health())?.["consumer"]?.details["handledEvents"]) > 40,
      { what: "some handled events", deadlineMs: 30_000 },
    );
    expect(await loginsAtWork(stage)).toEqual(["consumer", "producer", "purger"]);
    const code = await consumer.stop(signal);
    if (signal === "SIGTERM") expect(code).toBe(0);
  }
  await untilEvents(stage, (await eventCount(stage)) + enough);

  await using consumer = await stage.start("consumer");
  await untilEvents(stage, (await eventCount(stage)) + 20);
  expect(await producer.stop("SIGTERM")).toBe(0);
  await untilHandled(stage, consumer);
  expect(await consumer.stop("SIGTERM")).toBe(0);
  expect(await purger.stop("SIGTERM")).toBe(0);
  await expectEverythingHandled(stage);
};

const databaseDown = async (
  mongo: TestMongo | null,
  how: "stopped" | "killed",
  endsProducer: NodeJS.Signals | null,
): Promise<void> => {
  await using stage = await openStage(mongo);
  await stage.migrate();
  await using producers = new AsyncDisposableStack();
  let producer = producers.use(await stage.start("producer"));
  await using consumer = await stage.start("consumer");
  await using purger = await stage.start("purger");
  await untilEvents(stage, 60);

  if (endsProducer !== null) {
    const code = await producer.stop(endsProducer);
    if (endsProducer === "SIGTERM") expect(code).toBe(0);
  }
  await (how === "stopped" ? stage.server.stop() : stage.server.kill());
  await waitFor(async () => (await consumer.health())?.["consumer"]?.ready === false, {
    what: "a consumer that says what it lacks",
    deadlineMs: 30_000,
  });
  if (endsProducer === null) {
    await waitFor(async () => (await producer.health())?.["producer"]?.ready === false, {
      what: "a producer that says it repeats a batch",
      deadlineMs: 30_000,
    });
  }
  await stage.server.start();
  if (endsProducer !== null) producer = producers.use(await stage.start("producer"));
  await untilEvents(stage, (await eventCount(stage)) + enough);

  expect(await producer.stop("SIGTERM")).toBe(0);
  await untilHandled(stage, consumer);
  expect(await consumer.stop("SIGTERM")).toBe(0);
  expect(await purger.stop("SIGTERM")).toBe(0);
  await expectEverythingHandled(stage);
};

const scenarios = (mongo: TestMongo | null): void => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    test(
      `scenario 1: a consumer that was down (${signal}) catches up on everything`,
      async () => await consumerDown(mongo, signal),
      timeoutMs,
    );
  }
  for (const [how, ending] of [
    ["stopped", "SIGTERM"],
    ["killed", "SIGKILL"],
  ] as const) {
    test(
      `scenario 2: the database is ${how}, the producer ended before (${ending})`,
      async () => await databaseDown(mongo, how, ending),
      timeoutMs,
    );
    test(
      `scenario 2: the database is ${how}, the producer goes on and loses nothing`,
      async () => await databaseDown(mongo, how, null),
      timeoutMs,
    );
  }
};

describe("on SQLite", () => scenarios(null));
await describeWithMongo("on MongoDB's protocol", (mongo) => scenarios(mongo));
