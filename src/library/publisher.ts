//! A publisher for any application: `await using stream = openPublisher({ database: url })`, then `stream.publish(…)`.

import { makeEventAppender } from "../adapters/postgres/append-events.ts";
import { openClient } from "../adapters/postgres/client.ts";
import { makeHints } from "../adapters/postgres/hints.ts";
import { makeAnnouncer } from "../core/announcer.ts";
import { makePublisher, type Publisher, type PublisherOptions } from "../core/publisher.ts";
import { backoffDefault, type ConnectOptions, connectDefaults, serverTimeout } from "./defaults.ts";

export interface OpenPublisherOptions extends ConnectOptions, Partial<Omit<PublisherOptions, "backoff">> {
  /** How long disposing waits for what was accepted. Default 10,000 ms. */
  readonly closeTimeoutMs?: number;
  /** True behind a pooler such as PgBouncer, which hands out another connection per transaction. Default false. */
  readonly pooled?: boolean;
}

const limits = {
  batchEventsMax: 5_000,
  batchBytesMax: 8 * 2 ** 20,
  bufferEventsMax: 50_000,
  bufferBytesMax: 64 * 2 ** 20,
  eventBytesMax: 2 ** 20,
};

/**
 * Opens a publisher: one connection, taken when first needed. Calls made while a batch is on its way go out together in
 * the next one; an outage is waited out, with nothing lost and nothing published twice.
 */
export const openPublisher = (options: OpenPublisherOptions): Publisher & AsyncDisposable => {
  const { target, name, deadlineMs, logger, clock } = connectDefaults(options, "publisher");
  const client = openClient(target, {
    name,
    deadlineMs,
    ownConnection: options.pooled !== true,
    session: { statement_timeout: serverTimeout(deadlineMs) },
  });
  const publisher = makePublisher(
    {
      appender: makeEventAppender(client),
      announcer: makeAnnouncer(makeHints(client), logger),
      clock,
      random: Math.random,
      newId: () => crypto.randomUUID(),
      logger,
    },
    { ...limits, ...options, backoff: backoffDefault },
  );
  const close = async (timeoutMs: number): Promise<void> => {
    await publisher.close(timeoutMs);
    await client.end();
  };
  return {
    publish: publisher.publish.bind(publisher),
    status: publisher.status.bind(publisher),
    close,
    [Symbol.asyncDispose]: async () => {
      await close(options.closeTimeoutMs ?? 10_000);
    },
  };
};
