//! The example's publisher: courses and policies at a steady rate, or as fast as it goes.

import { openClient } from "../adapters/postgres/client.ts";
import { databaseFor } from "../config/database-target.ts";
import { messageOf } from "../core/errors.ts";
import type { EventDraft } from "../core/event.ts";
import { openGenerator } from "../features/generate.ts";
import { openPublisher } from "../library/publisher.ts";
import type { Role, RoleContext, RunningRole } from "./role.ts";
import { waitForDatabase } from "./wait-for-database.ts";

const deadlineMs = 30_000;
/** Of the events that were accepted, when the role stops: most of the time that the process has for it. */
const flushShare = 0.8;
/** One of each, per interval. */
const roundEvents = 2;
/** As fast as it goes: enough under way that the database never waits for us. */
const burstEvents = 1_000;
const burstsMax = 4;

interface Pace {
  readonly next: (count: number) => readonly EventDraft[];
  readonly publish: (drafts: readonly EventDraft[]) => Promise<unknown>;
  readonly signal: AbortSignal;
}

/** Two events, then a pause, until told to stop or `countMax` are out. */
const produceSteadily = async (
  { config, clock }: RoleContext,
  { next, publish, signal }: Pace,
): Promise<void> => {
  const { intervalMs, countMax } = config.producer;
  let left = countMax ?? Infinity;
  let dueAt = clock.now();
  while (!signal.aborted && left > 0) {
    const drafts = next(Math.min(roundEvents, left));
    left -= drafts.length;
    await publish(drafts);
    dueAt = Math.max(dueAt + intervalMs, clock.now());
    await clock.sleep(dueAt - clock.now(), signal);
  }
};

const produceFast = async ({ config }: RoleContext, { next, publish, signal }: Pace): Promise<void> => {
  let left = config.producer.countMax ?? Infinity;
  const lane = async (): Promise<void> => {
    while (!signal.aborted && left > 0) {
      const drafts = next(Math.min(burstEvents, left));
      left -= drafts.length;
      await publish(drafts);
    }
  };
  await Promise.all(Array.from({ length: burstsMax }, lane));
};

const start = (context: RoleContext): RunningRole => {
  const { config, logger, clock } = context;
  const { producer, process } = config;
  const database = databaseFor(config.database.targets, "producer");
  const stopping = new AbortController();
  const signal = AbortSignal.any([context.signal, stopping.signal]);
  const publisher = openPublisher({
    database,
    name: "producer",
    logger,
    clock,
    eventBytesMax: producer.eventBytesMax,
  });
  let obstacle: string | null = "is starting";

  const produce = async (): Promise<void> => {
    await using client = openClient(database, { name: "producer check", deadlineMs, signal });
    const isReady = await waitForDatabase({ client, as: "producer" }, context, signal, (reason) => {
      obstacle = reason;
    });
    if (!isReady) return;
    await client.end();
    obstacle = null;
    const generator = await openGenerator(producer.seed ?? Math.floor(Math.random() * 2 ** 32));
    const pace: Pace = {
      next: (count) => generator.next(count, new Date()),
      publish: async (drafts) => await publisher.publish(drafts),
      signal,
    };
    await (producer.intervalMs > 0 ? produceSteadily(context, pace) : produceFast(context, pace));
  };
  const flush = async (): Promise<void> => await publisher.close(process.shutdownTimeoutMs * flushShare);
  const live = async (): Promise<void> => {
    try {
      await produce();
    } catch (error) {
      // Told to stop in the middle of an outage: what was under way is unknown, and has been said so.
      if (!signal.aborted) throw error;
      logger.warn({ error: messageOf(error) }, "stopped before the database had answered");
    } finally {
      await flush();
    }
  };
  const done = live();
  return {
    done,
    status: () => {
      const { retrying, ...details } = publisher.status();
      // Why stays in the log: whoever may probe need not learn names of hosts and tables.
      const reason = obstacle ?? (retrying === null ? null : "repeats a batch");
      return { ready: reason === null, reason, details };
    },
    stop: async () => {
      stopping.abort();
      await Promise.all([flush(), done.catch(() => undefined)]); // whoever waits for `done` is told
    },
  };
};

export const producer: Role = async (context) => await Promise.resolve(start(context));
