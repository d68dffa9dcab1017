//! Two consumers on one store, as by `--scale web_consumer=2`: one works, the other stands by.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";

import { waitFor } from "../support/wait-for.ts";
import { type Process, run } from "./support/processes.ts";
import { eventCount, openStage, type Stage, takeStock, untilEvents, untilHandled } from "./support/stage.ts";

const stateOf = async (consumer: Process): Promise<unknown> =>
  (await consumer.health())?.["consumer"]?.details["state"];
const isWorking = async (consumer: Process): Promise<boolean> =>
  ["live", "reading"].includes(String(await stateOf(consumer)));

const untilWorking = async (consumer: Process): Promise<void> => {
  await waitFor(async () => await isWorking(consumer), { what: "a consumer at work", deadlineMs: 30_000 });
};
const untilStandby = async (consumer: Process): Promise<void> => {
  await waitFor(async () => (await stateOf(consumer)) === "standby", {
    what: "a consumer that stands by",
    deadlineMs: 30_000,
  });
};

/**
 * Pauses it with a commit in hand, but without the lock of the file: from a process that was paused inside a transaction of
 * SQLite nobody could take over, since nobody could write. Answers how many events it had committed by then.
 */
const pauseBeforeCommit = async (stage: Stage, consumer: Process): Promise<number> => {
  using file = new Database(stage.storeUrl.slice("sqlite:".length));
  file.run("pragma busy_timeout = 5000");
  file.run("begin immediate");
  const row = file.query<{ n: number }, []>("select count(*) as n from receivedEvents").get();
  await untilEvents(stage, (await eventCount(stage)) + 20); // it has work to commit, and waits for the lock
  consumer.signal("SIGSTOP");
  await waitFor(
    () =>
      Bun.spawnSync(["ps", "-o", "stat=", "-p", `${consumer.pid}`])
        .stdout.toString()
        .startsWith("T"),
    { what: "a process that is paused" },
  );
  file.run("rollback");
  return row?.n ?? 0;
};

test("the second stands by, ready, and takes over when the first is killed", async () => {
  await using stage = await openStage(null);
  await stage.migrate();
  await using producer = await stage.start("producer");
  await using first = await stage.start("consumer");
  await untilWorking(first);
  await using second = await stage.start("consumer");
  await untilStandby(second);
  expect((await second.health())?.["consumer"]?.ready).toBeTrue();

  await first.stop("SIGKILL");
  await untilWorking(second);
  expect(await producer.stop("SIGTERM")).toBe(0);
  await untilHandled(stage, second);
  const stock = await takeStock(stage);
  expect(stock.receiptIds).toEqual(stock.eventIds);
}, 60_000);

test("a first that was paused past its lease commits nothing when it wakes up, and stands by", async () => {
  await using stage = await openStage(null);
  await stage.migrate();
  await using producer = await stage.start("producer");
  await using first = await stage.start("consumer");
  await untilWorking(first);
  await using second = await stage.start("consumer");
  await untilStandby(second);

  const committed = await pauseBeforeCommit(stage, first);
  await untilWorking(second);
  first.signal("SIGCONT");
  await untilStandby(first);
  // The sets of ids would be equal anyway: the second has handled the same events.
  expect((await first.health())?.["consumer"]?.details["handledEvents"]).toBe(committed);
  expect(await isWorking(second)).toBeTrue();
  expect(await producer.stop("SIGTERM")).toBe(0);
  await untilHandled(stage, second);
  expect((await run(stage.settings("consumer"), "verify")).code).toBe(0);
  const stock = await takeStock(stage);
  expect(stock.receiptIds).toEqual(stock.eventIds);
}, 60_000);
