//! How the process ends: in the middle of its work, in the middle of an outage, and before it has begun.

import { describe, expect, test } from "bun:test";

import { startTcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";
import { run } from "./support/processes.ts";
import { openStage, type Stage, takeStock, untilEvents, untilHandled } from "./support/stage.ts";

const timeoutMs = 60_000;

describe("SIGTERM", () => {
  test(
    "in the middle of a catch-up: the batch in hand is finished, nothing else is begun, and the next start goes on there",
    async () => {
      await using stage = await openStage(null);
      await stage.migrate();
      const producer = await stage.start("producer", { PRODUCE_COUNT: "20000", PRODUCE_INTERVAL: "0ms" });
      expect(await producer.exited).toBe(0);

      // So many commits that it is still at it when it is asked to stop; and between any two it has ears for us.
      const first = await stage.start("consumer", { BATCH_EVENTS_MAX: "1" });
      await waitFor(
        async () => Number((await first.health())?.["consumer"]?.details["handledEvents"]) >= 100,
        { what: "a consumer in the middle", pollIntervalMs: 1 },
      );
      expect(await first.stop("SIGTERM")).toBe(0);
      const stopped = await takeStock(stage);
      expect(stopped.receiptIds.length).toBeWithin(100, 9_000);
      expect(stopped.receiptIds).toEqual(stopped.eventIds.slice(0, stopped.receiptIds.length));
      const verified = await run(stage.settings("consumer"), "verify");
      expect(verified.output).toContain(`still to come: ${20_000 - stopped.receiptIds.length}\n`);
      expect(verified.code).toBe(0);

      const second = await stage.start("consumer");
      await untilHandled(stage, second);
      const handled = (await second.health())?.["consumer"]?.details["handledEvents"];
      expect(handled).toBe(20_000 - stopped.receiptIds.length);
      const stock = await takeStock(stage);
      expect(stock.receiptIds).toEqual(stock.eventIds);
    },
    timeoutMs,
  );

  test(
    "in the middle of an outage ends every role within SHUTDOWN_TIMEOUT; what the producer could not publish is said",
    async () => {
      await using stage = await openStage(null);
      await stage.migrate();
      const consumer = await stage.start("consumer");
      const purger = await stage.start("purger");
      const producer = await stage.start("producer", { SHUTDOWN_TIMEOUT: "4s" });
      await untilEvents(stage, 10);
      await stage.server.kill();
      for (const [role, process] of Object.entries({ consumer, producer })) {
        await waitFor(async () => (await process.health())?.[role]?.ready === false, {
          what: `a ${role} that knows of the outage`,
          deadlineMs: 20_000,
        });
      }
      expect(await consumer.stop("SIGTERM")).toBe(0);
      expect(await purger.stop("SIGTERM")).toBe(0);
      // The batch in hand is unknown, and was not acknowledged to anybody: no failure of the role.
      expect(await producer.stop("SIGTERM")).toBe(0);
      expect(producer.output()).toContain("stopped before the database had answered");
    },
    timeoutMs,
  );
});

/** A proxy before the stage's server that goes silent with the first message it is asked to pass in which `until` is found. */
const startSilencer = async (stage: Stage, role: "producer" | "consumer" | "purger", until: string) => {
  const url = new URL(stage.settings(role)["DATABASE_URL"] ?? "");
  const silenced = Promise.withResolvers<void>();
  const proxy = await startTcpProxy({
    host: url.hostname,
    port: Number(url.port),
    onChunk: (chunk, direction) => {
      if (direction === "to-client" || !chunk.includes(until)) return "pass";
      silenced.resolve();
      return "silence";
    },
  });
  const settings = { DATABASE_URL: proxy.through(url.href) };
  return { settings, silenced: silenced.promise, [Symbol.asyncDispose]: async () => await proxy.close() };
};

describe("SIGTERM before a server that has gone silent ends, with exit code 0,", () => {
  test.each([
    ["a consumer that looks whether the log is fit", "consumer", "full_page_writes"],
    ["a consumer that asks how old receipts may get", "consumer", "min(opened_at)"],
    ["a producer that looks whether the log is fit", "producer", "full_page_writes"],
    ["a purger that looks whether the log is fit", "purger", "full_page_writes"],
    ["a purger in its round", "purger", "pgstream.prepare_segments"],
    ["a purger that takes a tick", "purger", "pgstream.tick"],
  ] as const)(
    "%s",
    async (_, role, until) => {
      await using stage = await openStage(null);
      await stage.migrate();
      await using silencer = await startSilencer(stage, role, until);
      const process = await stage.start(role, silencer.settings);
      await silencer.silenced;
      expect(await process.stop("SIGTERM")).toBe(0);
      expect(process.output()).not.toContain("did not stop in time");
    },
    timeoutMs,
  );
});

describe("what cannot begin", () => {
  test("a port that is taken: exit code 2 and one line", async () => {
    using taken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const { code, output } = await run({
      ROLES: "producer",
      PORT: String(taken.port),
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/nowhere",
    });
    expect(code).toBe(2);
    expect(output).toMatch(/^pgstream: PORT: [^\n]+\n$/);
  });

  test("a wrong setting: exit code 2 and one line, which says how to mend it and shows no secret", async () => {
    const { code, output } = await run({ ROLES: "consumer", DATABASE_URL: "postgres://me:hush@hush@h/db" });
    expect(code).toBe(2);
    expect(output).toMatch(/^pgstream: DATABASE_URL: [^\n]+\n$/);
    expect(output).not.toContain("hush");
  });

  test("a store that cannot be had: exit code 2, and the log says the role and the code", async () => {
    const { code, output } = await run({
      ROLES: "consumer",
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/nowhere",
      STORE_URL: "sqlite:/nonexistent/folder/consumer.sqlite",
    });
    expect(code).toBe(2);
    expect(output).toMatch(/"level":"error".*"role":"consumer","code":"invalid_config"/);
  });
});
