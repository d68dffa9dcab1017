//! The process as an operator meets it: any order of start, stops, failures that show, and the comparison.

import { describe, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { makeTemporaryFolder } from "../../src/adapters/runtime/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";
import { pgstreamBinary } from "./support/binary.ts";
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
    const migrator = await start(stage.settings("migrator"));
    await waitFor(
      async () => (await consumer.health())?.["consumer"]?.reason?.startsWith("waits for the database"),
      { what: "a consumer that says what it waits for" },
    );

    await stage.server.start();
    expect(await migrator.exited).toBe(0);
    await untilEvents(stage, 20);
    expect(await producer.stop("SIGTERM")).toBe(0);
    await untilHandled(stage, consumer);
    expect((await purger.health())?.["purger"]?.ready).toBeTrue();
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
      // Nobody answers there, so the producer would repeat its batch until the shutdown timeout.
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

test(
  "mistake 5: equal counts are not enough: verify names what is missing and what is extra",
  async () => {
    await using stage = await openStage(null);
    await stage.migrate();
    await using producer = await stage.start("producer", { PRODUCE_COUNT: "20", PRODUCE_INTERVAL: "1ms" });
    expect(await producer.exited).toBe(0);
    await using consumer = await stage.start("consumer");
    await untilHandled(stage, consumer);
    expect(await consumer.stop("SIGTERM")).toBe(0);
    await stage.query("select pgstream.publish('courses', '{}')");
    const before = await run(stage.settings("consumer"), "verify");
    expect(before).toMatchObject({ code: 0 });
    expect(before.output).toContain("still to come: 1");

    // One receipt renamed: as many receipts as events, and yet not the same.
    const { Database } = await import("bun:sqlite");
    const receipts = new Database(stage.storeUrl.slice("sqlite:".length));
    const columns = receipts
      .query<{ name: string }, []>("select name from pragma_table_info('receivedEvents') where pk = 1")
      .get();
    receipts.run(`update receivedEvents set ${columns?.name} = 999 where ${columns?.name} = 5`);
    receipts.close();
    const after = await run(stage.settings("consumer"), "verify");
    expect(after.code).toBe(1);
    expect(after.output).toContain("missing: 1 (ids 5)");
    expect(after.output).toContain("extra: 1 (ids 999)");
  },
  timeoutMs,
);

test(
  "what lies in the folder it is started in is not run",
  async () => {
    await using folder = await makeTemporaryFolder("pgstream-hostile-");
    const marker = join(folder.path, "ran");
    await Bun.write(join(folder.path, "evil.ts"), `await Bun.write(${JSON.stringify(marker)}, "ran");`);
    await Bun.write(join(folder.path, "bunfig.toml"), 'preload = ["./evil.ts"]');
    await Bun.write(join(folder.path, ".env"), "LOG_LEVEL=nonsense\nROLES=nonsense\n");
    await Bun.write(
      join(folder.path, "tsconfig.json"),
      '{"compilerOptions": {"paths": {"*": ["./evil.ts"]}}}',
    );
    await mkdir(join(folder.path, "node_modules", "postgres"), { recursive: true });
    await Bun.write(
      join(folder.path, "node_modules", "postgres", "index.js"),
      `require("fs").writeFileSync(${JSON.stringify(marker)}, "ran")`,
    );
    const child = Bun.spawn([await pgstreamBinary(), "--roles=producer"], {
      cwd: folder.path,
      env: { DATABASE_URL: "postgres://nobody@127.0.0.1:1/nowhere", PORT: "0" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    expect(new TextDecoder().decode(value)).toContain("the server listens");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    expect(await Bun.file(marker).exists()).toBeFalse();
  },
  timeoutMs,
);
