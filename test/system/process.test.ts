//! The process as an operator meets it: any order of start, stops, and failures that show.

import { describe, expect, test } from "bun:test";

import { waitFor } from "../support/wait-for.ts";
import { run, start } from "./support/processes.ts";
import { openStage, takeStock, untilEvents, untilHandled } from "./support/stage.ts";

const timeoutMs = 60_000;

test(
  "mistake 11: everything may start before the database does",
  async () => {
    await using stage = await openStage(null);
    await stage.migrate();
    await stage.query("drop schema pgstream cascade");
    await stage.server.stop();
    await using producer = await stage.start("producer");
    await using consumer = await stage.start("consumer");
    await using purger = await stage.start("purger");
    await using migrator = await start(stage.settings("migrator"));
    await waitFor(
      async () => (await consumer.health())?.["consumer"]?.reason?.startsWith("waits for the database"),
      { what: "a consumer that says what it waits for" },
    );

    await stage.server.start();
    expect(await migrator.exited).toBe(0);
    await untilEvents(stage, 20);
    expect(await producer.stop("SIGTERM")).toBe(0);
    await untilHandled(stage, consumer);
    // It asks on its own time, and nobody hurries it.
    await waitFor(async () => (await purger.health())?.["purger"]?.ready, { what: "a purger that works" });
  },
  timeoutMs,
);

describe("stopping", () => {
  test(
    "all roles in one process drain at SIGTERM",
    async () => {
      await using stage = await openStage(null);
      await stage.migrate();
      await using all = await start(
        {
          ...stage.settings("migrator"),
          CREATE_LOGINS: "off",
          STORE_URL: stage.storeUrl,
          PRODUCE_INTERVAL: "10ms",
        },
        "--roles=all",
      );
      await untilEvents(stage, 50);
      expect(await all.stop("SIGTERM")).toBe(0);
      expect((await run({ ...stage.settings("consumer") }, "verify")).code).toBe(0);
    },
    timeoutMs,
  );

  test(
    "a second signal ends at once",
    async () => {
      // The producer would repeat its batch until the shutdown timeout.
      await using stage = await openStage(null);
      await stage.migrate();
      await using producer = await stage.start("producer");
      await untilEvents(stage, 10);
      await stage.server.kill();
      await waitFor(async () => (await producer.health())?.["producer"]?.ready === false, {
        what: "a batch that is repeated",
        deadlineMs: 30_000,
      });
      producer.signal("SIGTERM");
      await waitFor(() => producer.output().includes("a second signal ends at once"), {
        what: "the first signal to be heard",
      });
      expect(await producer.stop("SIGTERM")).toBe(143);
    },
    timeoutMs,
  );
});

test(
  "an event that the handler cannot handle stops the subscription visibly, in front of it, and nothing is lost",
  async () => {
    await using stage = await openStage(null);
    await stage.migrate();
    await stage.query(
      `select pgstream.publish('courses', '{"CourseId": 7}', key => 'bad', type => 'CourseCreated')`,
    );
    await using producer = await stage.start("producer", { PRODUCE_COUNT: "100", PRODUCE_INTERVAL: "1ms" });
    expect(await producer.exited).toBe(0);

    await using failing = await stage.start("consumer", { HANDLER_RETRIES: "2" });
    expect(await failing.exited).toBe(1);
    expect(failing.output()).toContain('"code":"handler_failed"');
    expect(failing.output()).toContain("event 1 on topic courses");
    const failed = await takeStock(stage);
    expect(failed.receiptIds).toEqual([]);

    // Beside another role the process lives on, and says what is wrong.
    await using both = await start(
      {
        ...stage.settings("migrator"),
        CREATE_LOGINS: "off",
        STORE_URL: stage.storeUrl,
        HANDLER_RETRIES: "0",
      },
      "--roles=consumer,purger",
    );
    await waitFor(async () => (await both.health())?.["consumer"]?.reason === "failed: handler_failed", {
      what: "a failed consumer",
      deadlineMs: 30_000,
    });
    expect((await both.get("/health/ready")).status).toBe(503);
    // What it handled is not gone.
    await waitFor(async () => (await both.get("/courses")).status === 503, {
      what: "its paths to be closed",
    });
    await both.stop("SIGTERM");

    await stage.query("delete from events where key = 'bad'");
    await using mended = await stage.start("consumer");
    await untilHandled(stage, mended);
    const stock = await takeStock(stage);
    expect(stock.receiptIds).toEqual(stock.eventIds);
    expect(stock.eventIds).toHaveLength(100);
  },
  timeoutMs,
);
