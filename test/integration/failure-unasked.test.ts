//! A subscription that stops by itself in an application that never asked how it ends.

import { beforeAll, expect, test } from "bun:test";

import { openPublisher } from "../../src/library/publisher.ts";
import { runProgram } from "../support/application-program.ts";
import { useLog } from "../support/log-of-file.ts";

const log = useLog();
beforeAll(async () => {
  await using publisher = openPublisher({ database: log.url, name: "setup" });
  await publisher.publish({ topic: "unasked", data: 1 });
}, 60_000);

/** Serves for ever, beside a subscription that cannot handle its first event. */
const program = (retries: number, beside = ""): string => `
  import { openSubscription } from "./src/library/subscription.ts";
  const subscription = openSubscription({
    database: process.argv[1],
    topics: ["unasked"],
    handlerRetriesMax: ${retries},
    cursor: async () => null,
    handle: async () => { throw new Error("cannot"); },
  });
  Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("well") });
  ${beside}`;

test("mistake 7: ends the process, with the reason", async () => {
  const { code, errors } = await runProgram(program(0), log.url);
  expect(code).toBe(1);
  expect(errors).toContain("handler_failed");
}, 30_000);

test("leaves the process alone where somebody asked, or stops it", async () => {
  const asked = `
    await subscription.done.catch(() => {});
    await subscription.stop();
    process.exit(7);`;
  expect(await runProgram(program(0, asked), log.url)).toEqual({ code: 7, errors: "" });
  const stopped = `
    const { waitFor } = await import("./test/support/wait-for.ts");
    await waitFor(() => subscription.status().state === "retrying", { what: "a failure" });
    await subscription.stop();
    process.exit(7);`;
  expect(await runProgram(program(1_000, stopped), log.url)).toEqual({ code: 7, errors: "" });
}, 60_000);
