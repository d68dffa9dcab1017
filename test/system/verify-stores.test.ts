//! `pgstream verify` before, between and after: nothing handled yet, a receipt lost and mended, another log, another store.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";

import { MongoClient } from "mongodb";

import { describeWithMongo } from "../support/mongo.ts";
import { run } from "./support/processes.ts";
import { openStage, type Stage, untilHandled } from "./support/stage.ts";

const timeoutMs = 60_000;

const verify = async (stage: Stage) => await run(stage.settings("consumer"), "verify");

const publish = async (stage: Stage, count: number): Promise<void> => {
  const producer = await stage.start("producer", {
    PRODUCE_COUNT: String(count),
    PRODUCE_INTERVAL: "1ms",
  });
  expect(await producer.exited).toBe(0);
};

/** Publishes twenty events and handles them. */
const handleTwenty = async (stage: Stage): Promise<void> => {
  await stage.migrate();
  await publish(stage, 20);
  const consumer = await stage.start("consumer");
  await untilHandled(stage, consumer);
  expect(await consumer.stop("SIGTERM")).toBe(0);
};

/** Changes a SQLite store behind the product's back. */
const tamper = (stage: Stage, statement: string): void => {
  using store = new Database(stage.storeUrl.slice("sqlite:".length));
  store.run(statement);
};

test(
  "tells what is still to come from what is missing, and what is missing from what is extra",
  async () => {
    await using stage = await openStage(null);
    await stage.migrate();
    await publish(stage, 20);
    const untouched = await verify(stage);
    expect(untouched.output).toContain("handled: 0\nmissing: 0\nextra: 0\nduplicate: 0\nstill to come: 20\n");
    expect(untouched.output).toContain("has never stored a cursor here");
    expect(untouched.code).toBe(1);

    const consumer = await stage.start("consumer");
    await untilHandled(stage, consumer);
    expect(await consumer.stop("SIGTERM")).toBe(0);
    await publish(stage, 6);
    expect((await verify(stage)).output).toContain(
      "handled: 20\nmissing: 0\nextra: 0\nduplicate: 0\nstill to come: 6\n",
    );

    tamper(stage, "delete from receivedEvents where event_id in (3, 4)");
    const missing = await verify(stage);
    expect(missing.output).toContain("handled: 18\nmissing: 2 (ids 3, 4)\nextra: 0\n");
    expect(missing.output).toContain("the log and the store differ");
    expect(missing.code).toBe(1);

    tamper(stage, "insert into receivedEvents (event_id, topic) values (3, 'courses'), (4, 'policies')");
    expect((await verify(stage)).code).toBe(0);
    tamper(stage, "insert into receivedEvents (event_id, topic) values (4711, 'courses')");
    const extra = await verify(stage);
    expect(extra.output).toContain("missing: 0\nextra: 1 (ids 4711)\n");
    expect(extra.code).toBe(1);
    // Receipts of other subscriptions' topics are none of its business.
    tamper(stage, "update receivedEvents set topic = 'other' where event_id = 4711");
    expect((await verify(stage)).code).toBe(0);
  },
  timeoutMs,
);

test(
  "compares nothing with a log that the cursor does not belong to: exit code 1 and one line",
  async () => {
    await using stage = await openStage(null);
    await handleTwenty(stage);
    await stage.query("drop schema pgstream cascade");
    const migrator = await stage.start("migrator");
    expect(await migrator.exited).toBe(0);
    const other = await verify(stage);
    expect(other.output).toMatch(/^pgstream: the cursor [^\n]+ another epoch [^\n]+\n$/);
    expect(other.code).toBe(1);
  },
  timeoutMs,
);

test(
  "compares the newest epoch alone, and says so",
  async () => {
    await using stage = await openStage(null);
    await handleTwenty(stage);
    // To the log this server is another one now.
    await stage.query("update pgstream.epochs set timeline = timeline + 1");
    await stage.query("update pgstream.settings set server_started_at = null");
    await publish(stage, 4);
    const consumer = await stage.start("consumer", { ON_EPOCH_CHANGE: "cross" });
    await untilHandled(stage, consumer);
    expect(await consumer.stop("SIGTERM")).toBe(0);
    const { code, output } = await verify(stage);
    expect(output).toContain("handled: 4\nmissing: 0\nextra: 0\nduplicate: 0\nstill to come: 0\n");
    expect(output).toContain(
      `not compared: ids below ${2 ** 47}, of the time before this epoch of the log\n`,
    );
    expect(code).toBe(0);
  },
  timeoutMs,
);

await describeWithMongo("on MongoDB's protocol", (mongo) => {
  test(
    "verify names what is missing and what is extra, though the counts are equal",
    async () => {
      await using stage = await openStage(mongo);
      await handleTwenty(stage);
      expect((await verify(stage)).code).toBe(0);
      await using client = new MongoClient(stage.storeUrl);
      const receipts = client.db().collection<{ readonly _id: number }>("receivedEvents");
      const taken = await receipts.findOneAndDelete({}, { sort: { _id: 1 } });
      if (taken === null) throw new Error("there are no receipts");
      await receipts.insertOne({ ...taken, _id: 4711 });
      const { code, output } = await verify(stage);
      expect(output).toContain("handled: 19\nmissing: 1 (ids 1)\nextra: 1 (ids 4711)\n");
      expect(code).toBe(1);
    },
    timeoutMs,
  );
});
