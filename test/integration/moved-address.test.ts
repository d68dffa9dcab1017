//! An address that leads to a standby first, and to the primary later: a failover that a name or a proxy learns of late.

import { afterAll, beforeAll, test } from "bun:test";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openPublisher } from "../../src/library/publisher.ts";
import { openSubscription } from "../../src/library/subscription.ts";
import { startLaggingStandby } from "../support/lagging-standby.ts";
import { migrateAs } from "../support/migrator.ts";
import { startOwnServer } from "../support/postgres.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";

let primary: PostgresServer;
let standby: PostgresServer;
beforeAll(async () => {
  primary = await startOwnServer();
  await migrateAs(primary.url());
  standby = await startLaggingStandby(primary, 18);
}, 120_000);
afterAll(async () => {
  await standby.close();
  await primary.close();
});

const portOf = (server: PostgresServer): number => Number(new URL(server.url()).port);

test.each(["listen", "poll"] as const)(
  "who got a connection to the standby gives it up: %s",
  async (wakeups) => {
    let leadsTo = standby;
    await using proxy = await startTcpProxy({
      get port() {
        return portOf(leadsTo);
      },
    });
    const database = proxy.through(primary.url());
    await using publisher = openPublisher({ database });
    const ids: bigint[] = [];
    await using subscription = openSubscription({
      database,
      topics: ["courses"],
      from: "earliest",
      wakeups,
      cursor: async () => await Promise.resolve(null),
      handle: async (events) => {
        ids.push(...events.map(({ id }) => id));
        await Promise.resolve();
      },
    });
    const publishing = publisher.publish({ topic: "courses", data: wakeups });
    await waitFor(() => publisher.status().retrying !== null && subscription.status().state === "retrying", {
      what: "both to be told that it is a standby",
    });
    // Nothing is reset: the connections that are there stay as they are.
    leadsTo = primary;
    const id = await publishing;
    await waitFor(() => ids.includes(id), { what: "the event", deadlineMs: 30_000 });
  },
  90_000,
);
