//! A publisher for any application: `await using stream = openPublisher({ database: url })`, then `stream.publish(…)`.

import { openClient, type PostgresClient, readCommitted } from "../adapters/postgres/client.ts";
import { makeEventAppender } from "../adapters/postgres/publish/append-events.ts";
import { makeTicker } from "../adapters/postgres/publish/hints.ts";
import { PgstreamError } from "../core/errors.ts";
import { makeAnnouncer } from "../core/publish/announcer.ts";
import { makePublisher, type Publisher, type PublisherOptions } from "../core/publish/publisher.ts";
import { backoffDefault, type ConnectOptions, connectDefaults, serverTimeout } from "./defaults.ts";
import { checkNumbers, overDefaults } from "./given-options.ts";

export { PgstreamError } from "../core/errors.ts";
export { type EventDraft, RawJson } from "../core/event.ts";

export interface OpenPublisherOptions extends ConnectOptions, Partial<Omit<PublisherOptions, "backoff">> {
  /**
   * How many batches may be on their way at once, each on a connection of its own: 1 to 16, default 2. Events with the
   * same topic and key keep the order of the calls, and so do a topic's events without a key. With 1, all events do. Where one has to
   * wait, for somebody's lock on an idempotency key or a new topic, the others carry what has nothing to do with that, for as long as the buffer has room.
   */
  readonly connections?: number;
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
  callBytesMax: 2 ** 28,
  furtherLaneEventsMin: 256,
};

const connectionsDefault = 2;
const connectionsMax = 16;

const checkedConnections = (connections: number): number => {
  if (Number.isInteger(connections) && connections >= 1 && connections <= connectionsMax) return connections;
  throw new PgstreamError(
    "invalid_config",
    `a publisher takes 1 to ${connectionsMax} connections, not ${connections}`,
  );
};

const checkOptions = (options: OpenPublisherOptions): void => {
  checkNumbers(options, {
    batchEventsMax: 1,
    batchBytesMax: 1,
    bufferEventsMax: 1,
    bufferBytesMax: 1,
    eventBytesMax: 1,
    callBytesMax: 1,
    furtherLaneEventsMin: 1,
    closeTimeoutMs: 0,
  });
};

/**
 * Opens a publisher: connections are taken when first needed, the second when there is more to publish than one batch at
 * a time can carry. Calls made while all are busy go out together next; an outage is waited out, with nothing lost and
 * nothing published twice.
 * @throws PgstreamError `invalid_config`
 */
export const openPublisher = (options: OpenPublisherOptions): Publisher & AsyncDisposable => {
  const { target, name, deadlineMs, logger, clock } = connectDefaults(options, "publisher");
  checkOptions(options);
  const open = (): PostgresClient =>
    openClient(target, {
      name,
      deadlineMs,
      ownConnection: options.pooled !== true,
      session: { ...readCommitted, statement_timeout: serverTimeout(deadlineMs) },
    });
  const first = open();
  const others = Array.from(
    { length: checkedConnections(options.connections ?? connectionsDefault) - 1 },
    open,
  );
  const clients = [first, ...others];
  const publisher = makePublisher(
    {
      appenders: clients.map((client) => makeEventAppender(client, logger)),
      announcer: makeAnnouncer(makeTicker(first), logger),
      clock,
      random: Math.random,
      newId: () => crypto.randomUUID(),
      logger,
    },
    { ...overDefaults(limits, options), backoff: backoffDefault },
  );
  const close = async (timeoutMs: number): Promise<void> => {
    const dueAt = clock.now() + timeoutMs;
    await publisher.close(timeoutMs);
    const leftMs = Math.max(0, dueAt - clock.now());
    await Promise.all(clients.map(async (client) => await client.end(leftMs)));
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
