//! Any start-up order, with the logins that the migrator makes: each process waits for what it lacks, and says what.

import { expect, test } from "bun:test";

import { waitFor } from "../support/wait-for.ts";
import type { Process } from "./support/processes.ts";
import { openStage, takeStock, untilEvents, untilHandled } from "./support/stage.ts";

const roles = ["producer", "consumer", "purger"] as const;

test("mistake 11: before the server, before the schema and before its own login exists, each role waits and then works", async () => {
  await using stage = await openStage(null);
  await stage.createDatabase();
  await stage.server.stop();
  const processes = new Map<string, Process>();
  for (const role of roles) processes.set(role, await stage.start(role));
  const untilAll = async (what: string, isTrue: (reason: string | null, ready: boolean) => boolean) => {
    for (const [role, process] of processes) {
      await waitFor(
        async () => {
          const health = (await process.health())?.[role];
          return health !== undefined && isTrue(health.reason, health.ready);
        },
        { what: `a ${role} that ${what}; log: ${process.output()}`, deadlineMs: 20_000 },
      );
    }
  };
  await untilAll(
    "waits for the server",
    (reason) => reason === "waits for the database: database_unavailable",
  );

  await stage.server.start();
  await untilAll("waits for its login", (reason) => reason?.startsWith("waits for its login") === true);

  const migrator = await stage.start("migrator");
  expect(await migrator.exited).toBe(0);
  await untilAll("works", (_, ready) => ready);
  await untilEvents(stage, 20);
  expect(await processes.get("producer")?.stop("SIGTERM")).toBe(0);
  const consumer = processes.get("consumer");
  if (consumer !== undefined) await untilHandled(stage, consumer);
  const stock = await takeStock(stage);
  expect(stock.receiptIds).toEqual(stock.eventIds);
}, 60_000);
