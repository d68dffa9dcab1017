//! `pgstream verify`, on differences that were planted: it names them, and only them.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";

import { waitFor } from "../support/wait-for.ts";
import { run } from "./support/processes.ts";
import { eventCount, openStage, type Stage, untilHandled } from "./support/stage.ts";

const timeoutMs = 60_000;
const count = 20;

/** A log of twenty events, all handled; nobody works on it any more. */
const openHandledStage = async (): Promise<Stage> => {
  await using opened = new AsyncDisposableStack();
  const stage = opened.use(await openStage(null));
  await stage.migrate();
  await using producer = await stage.start("producer", {
    PRODUCE_COUNT: String(count),
    PRODUCE_INTERVAL: "1ms",
  });
  expect(await producer.exited).toBe(0);
  await using consumer = await stage.start("consumer");
  await untilHandled(stage, consumer);
  expect(await consumer.stop("SIGTERM")).toBe(0);
  opened.move();
  return stage;
};

/** Renames a receipt behind the product's back. */
const renameReceipt = ({ storeUrl }: Stage, from: number, to: number): void => {
  using receipts = new Database(storeUrl.slice("sqlite:".length));
  const key = receipts
    .query<{ name: string }, []>("select name from pragma_table_info('receivedEvents') where pk = 1")
    .get();
  expect(
    receipts.run(`update receivedEvents set "${key?.name}" = ? where "${key?.name}" = ?`, [to, from]).changes,
  ).toBe(1);
};

test(
  "mistake 5: equal counts are not enough: it names what is missing and what is extra",
  async () => {
    await using stage = await openHandledStage();
    await stage.query("select pgstream.publish('courses', '{}')");
    await stage.query("select pgstream.publish('unwanted', '{}')");
    const before = await run(stage.settings("consumer"), "verify");
    expect(before.output).toContain(
      `handled: ${count}\nmissing: 0\nextra: 0\nduplicate: 0\nstill to come: 1\n`,
    );
    expect(before.code).toBe(0);

    // Receipts belong to the store: a subscription that never ran has handled none of them.
    const never = await run({ ...stage.settings("consumer"), SUBSCRIPTION: "never" }, "verify");
    expect(never.output).toContain("subscription never has never stored a cursor here");
    expect(never.code).toBe(1);

    // So is a topic that is not there.
    const none = await run({ ...stage.settings("consumer"), TOPICS: "course" }, "verify");
    expect(none.output).toContain("no topic of the log matches: look at TOPICS");
    expect(none.code).toBe(1);

    // As many receipts as events, and yet not the same.
    renameReceipt(stage, 5, 999);
    const after = await run(stage.settings("consumer"), "verify");
    expect(after.output).toContain("missing: 1 (ids 5)\nextra: 1 (ids 999)\n");
    expect(after.output).toContain("still to come: 1\n");
    expect(after.output).toContain("the log and the store differ");
    expect(after.code).toBe(1);
  },
  timeoutMs,
);

test(
  "receipts of events that were purged are not extra; one of an event that never was still is",
  async () => {
    await using stage = await openHandledStage();
    {
      await using purger = await stage.start("purger", { RETENTION: "1s", SEGMENT_INTERVAL: "1s" });
      await waitFor(async () => (await eventCount(stage)) === 0, {
        what: "everything to be purged",
        deadlineMs: 30_000,
      });
      expect(await purger.stop("SIGTERM")).toBe(0);
    }
    const purged = await run(stage.settings("consumer"), "verify");
    expect(purged.output).toContain("handled: 0\nmissing: 0\nextra: 0\n");
    expect(purged.code).toBe(0);

    // Far above any id that was handed out, in whichever segment the log is now.
    renameReceipt(stage, 5, 2 ** 50);
    const planted = await run(stage.settings("consumer"), "verify");
    expect(planted.output).toContain(`extra: 1 (ids ${2 ** 50})\n`);
    expect(planted.code).toBe(1);
  },
  timeoutMs,
);

test(
  "a database that does not answer is no agreement: exit code 1 and one line",
  async () => {
    await using stage = await openStage(null);
    await stage.server.stop();
    const { code, output } = await run(stage.settings("consumer"), "verify");
    expect(code).toBe(1);
    expect(output).toMatch(/^pgstream: [^\n]+\n$/);
    expect(output).not.toContain("agree");
    expect(output).not.toContain("consumer-secret");
  },
  timeoutMs,
);
