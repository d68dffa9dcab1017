//! The role `consumer`, told to stop at the worst moments of its start.

import { expect, test } from "bun:test";

import { makeClock } from "../../../src/adapters/runtime/clock.ts";
import { readConfig } from "../../../src/config/config.ts";
import { silent } from "../../../src/library/defaults.ts";
import { consumer } from "../../../src/roles/consumer.ts";
import { useLog } from "../../support/log-of-file.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";

const log = useLog();

test("told to stop while it closes the connection of its check, it ends and does not start to read", async () => {
  const stopping = new AbortController();
  const { hostname, port } = new URL(log.url);
  await using proxy = await startTcpProxy({
    host: hostname,
    port: Number(port),
    onChunk: (chunk, direction) => {
      // The client's last message: Terminate.
      if (direction === "to-server" && chunk.includes("X\0\0\0\x04")) stopping.abort();
      return "pass";
    },
  });
  const env = { DATABASE_URL: proxy.through(log.url), STORE_URL: "sqlite::memory:" };
  const { config } = readConfig({ flags: new Map(), env, readFile: () => "" });
  const running = await consumer({ config, logger: silent, clock: makeClock(), signal: stopping.signal });
  await running.done;
  expect(stopping.signal.aborted).toBeTrue();
  expect(running.status().details).not.toMatchObject({ state: "live" });
}, 20_000);
