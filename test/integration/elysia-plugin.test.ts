//! A subscription mounted into an application: it lives and dies with the application's server, for all to see.

import { beforeAll, describe, expect, test } from "bun:test";

import { Elysia } from "elysia";

import { subscriptionPlugin } from "../../src/library/elysia-plugin.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { runProgram } from "../support/application-program.ts";
import { useLog } from "../support/log-of-file.ts";
import { waitFor } from "../support/wait-for.ts";

const log = useLog();
beforeAll(async () => {
  await using publisher = openPublisher({ database: log.url, name: "setup" });
  await publisher.publish([1, 2, 3].map((data) => ({ topic: "plugged", data })));
}, 60_000);

const remembering = (name: string, handled: string[]) => {
  let cursor: string | null = null;
  return {
    database: log.url,
    name,
    topics: ["plugged"],
    cursor: async () => await Promise.resolve(cursor),
    handle: async (events: readonly { readonly json: string }[], context: { readonly cursor: string }) => {
      handled.push(...events.map((event) => event.json));
      ({ cursor } = context);
      await Promise.resolve();
    },
  };
};

describe("a mounted subscription", () => {
  test("starts when the application listens, is at hand in its routes, and ends before app.stop() returns", async () => {
    const handled: string[] = [];
    const stream = subscriptionPlugin(remembering("mounted", handled));
    const app = new Elysia()
      .use(stream.plugin)
      .get("/lag", ({ subscription }) => ({ state: subscription.status()?.state ?? "none" }));
    expect(stream.status()).toBeNull();
    expect(await (await app.handle(new Request("http://localhost/lag"))).json()).toEqual({ state: "none" });
    app.listen({ port: 0, hostname: "127.0.0.1" });
    await waitFor(() => stream.status()?.state === "live", { what: "it to be live" });
    expect(handled).toEqual(["1", "2", "3"]);
    expect(await (await fetch(`http://127.0.0.1:${app.server?.port}/lag`)).json()).toEqual({ state: "live" });
    await app.stop();
    await waitFor(() => stream.status()?.state === "stopped", { what: "it to be stopped" });
    await waitFor(async () => (await log.hands.sessions("mounted")).length === 0, {
      what: "its sessions to end",
    });
  });

  test("does not keep another one of the same topics out", async () => {
    const first: string[] = [];
    const second: string[] = [];
    const options = [remembering("twins", first), remembering("twins", second)] as const;
    const app = new Elysia()
      .use(subscriptionPlugin(options[0]).plugin)
      .use(subscriptionPlugin(options[1]).plugin)
      .listen({ port: 0, hostname: "127.0.0.1" });
    await waitFor(() => first.length === 3 && second.length === 3, {
      what: "both to have handled everything",
    });
    await app.stop();
  });

  test("that stops by itself tells the application", async () => {
    const failures: unknown[] = [];
    const stream = subscriptionPlugin(
      {
        ...remembering("failing", []),
        handlerRetriesMax: 0,
        handle: async (): Promise<void> => await Promise.reject(new Error("cannot")),
      },
      (error) => void failures.push(error),
    );
    const app = new Elysia().use(stream.plugin).listen({ port: 0, hostname: "127.0.0.1" });
    await waitFor(() => failures.length > 0, { what: "the failure to be told" });
    expect(failures).toMatchObject([{ code: "handler_failed" }]);
    expect(stream.status()).toMatchObject({ state: "failed" });
    await app.stop();
    expect(failures).toHaveLength(1);
  });

  test("mistake 7: that stops by itself ends an application that does not ask to be told", async () => {
    const program = `
      import { Elysia } from "elysia";
      import { subscriptionPlugin } from "./src/library/elysia-plugin.ts";
      const stream = subscriptionPlugin({
        database: process.argv[1],
        topics: ["plugged"],
        handlerRetriesMax: 0,
        cursor: async () => null,
        handle: async () => { throw new Error("cannot"); },
      });
      new Elysia().use(stream.plugin).listen({ port: 0, hostname: "127.0.0.1" });`;
    const { code, errors } = await runProgram(program, log.url);
    expect(code).toBe(1);
    expect(errors).toContain("handler_failed");
  }, 30_000);
});
