//! The example application: courses and policies as documents, from events. Built with nothing but what any
//! application has: the Elysia plugin, a store, and a function that says what events lead to.

import { Elysia } from "elysia";

import { openClient } from "../adapters/postgres/client.ts";
import { databaseFor } from "../config/database-target.ts";
import { collections, projectBatch } from "../features/handlers.ts";
import { makeUnknownTypes } from "../features/unknown-types.ts";
import { documentRoutes } from "../http/documents.ts";
import type { Readiness } from "../http/health.ts";
import { subscriptionPlugin } from "../library/elysia-plugin.ts";
import type { SubscriptionStatus } from "../library/subscription-status.ts";
import { openConfiguredStore } from "./configured-store.ts";
import type { Role, RoleContext, RunningRole } from "./role.ts";
import { waitForDatabase } from "./wait-for-database.ts";

const deadlineMs = 30_000;

const readinessOf = (status: SubscriptionStatus, unknownEvents: number): Readiness => {
  const { state, code, handledEvents, lastId, lagMs, handlingMs, gap } = status;
  const isReady = state === "live" || state === "reading" || state === "standby";
  return {
    ready: isReady,
    // Its message stays in the log: whoever may probe need not learn names of hosts and tables.
    reason: isReady ? null : code === null ? state : `${state}: ${code}`,
    details: {
      state,
      handledEvents,
      unknownEvents,
      lastId: lastId === null ? null : String(lastId),
      lagMs,
      handlingMs,
      gap,
    },
  };
};

const start = async (context: RoleContext): Promise<RunningRole> => {
  const { config, logger, clock } = context;
  const { consumer } = config;
  const database = databaseFor(config.database.targets, "consumer");
  const stopping = new AbortController();
  const signal = AbortSignal.any([context.signal, stopping.signal]);
  const store = await openConfiguredStore(config, logger);
  const unknownTypes = makeUnknownTypes(logger);
  let obstacle: string | null = "is starting";

  const stream = subscriptionPlugin(
    {
      ...consumer,
      database,
      name: "consumer",
      logger,
      clock,
      pageBytesMax: consumer.batchBytesMax,
      store,
      handle: async (events) => {
        const { writes, unknown } = projectBatch(events);
        unknownTypes.note(unknown);
        return await Promise.resolve(writes);
      },
    },
    () => {}, // `live` below learns of it
  );

  const untilReady = async (): Promise<boolean> => {
    const ownConnection = consumer.wakeups !== "poll";
    await using client = openClient(database, { name: "consumer check", deadlineMs, ownConnection, signal });
    return await waitForDatabase({ client, as: "consumer" }, context, signal, (reason) => {
      obstacle = reason;
    });
  };
  const live = async (): Promise<void> => {
    try {
      const isReady = await untilReady();
      // Asked last: whoever listens to a signal that has aborted hears nothing.
      if (!isReady || signal.aborted) return;
      obstacle = null;
      const subscription = stream.start();
      signal.addEventListener("abort", () => void subscription.stop(), { once: true });
      await subscription.done;
    } finally {
      stopping.abort();
      await store.close();
    }
  };
  const done = live();
  const routes = new Elysia().use(stream.plugin);
  for (const collection of collections) routes.use(documentRoutes({ store, collection }));
  return {
    routes,
    done,
    status: () => {
      const status = stream.status();
      if (obstacle !== null || status === null)
        return { ready: false, reason: obstacle ?? "is starting", details: {} };
      return readinessOf(status, unknownTypes.count());
    },
    stop: async () => {
      stopping.abort();
      await done.catch(() => undefined); // whoever waits for `done` is told
    },
  };
};

export const consumer: Role = start;
