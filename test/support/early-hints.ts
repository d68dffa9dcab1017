//! A planted bug: a publisher whose hints go down another connection, and so may overtake their batches.

import type postgres from "postgres";

import { openClient, type PostgresClient, type Sql } from "../../src/adapters/postgres/client.ts";
import { makeEventAppender } from "../../src/adapters/postgres/publish/append-events.ts";
import { makeClock } from "../../src/adapters/runtime/clock.ts";
import { makePublisher, type Publisher } from "../../src/core/publish/publisher.ts";
import { backoffDefault, silent } from "../../src/library/defaults.ts";
import { targetOf } from "./log-database.ts";
import { openHands } from "./sessions.ts";

const limits = {
  batchEventsMax: 5_000,
  batchBytesMax: 2 ** 23,
  bufferEventsMax: 50_000,
  bufferBytesMax: 2 ** 26,
  eventBytesMax: 2 ** 20,
  callBytesMax: 2 ** 28,
  furtherLaneEventsMin: 1,
};

const hintsElsewhere = (client: PostgresClient, elsewhere: postgres.Sql): PostgresClient => {
  const isHint = ([text]: readonly unknown[]): boolean =>
    Array.isArray(text) && String(text[0]).includes("pg_notify(");
  const divert = (sql: Sql): Sql =>
    new Proxy(sql, {
      apply: (target, self, args: unknown[]) =>
        Reflect.apply(isHint(args) ? elsewhere : target, self, args) as unknown,
    });
  return {
    ...client,
    run: async (statement, deadlineMs) => await client.run((sql) => statement(divert(sql)), deadlineMs),
  };
};

export const openPublisherWithEarlyHints = (url: string, name: string): Publisher & AsyncDisposable => {
  const client = openClient(targetOf(url), { name, deadlineMs: 20_000 });
  const hands = openHands(url);
  const publisher = makePublisher(
    {
      appenders: [makeEventAppender(hintsElsewhere(client, hands.sql), silent)],
      announcer: { announce: () => {}, settled: async () => {} },
      clock: makeClock(),
      random: Math.random,
      newId: () => crypto.randomUUID(),
      logger: silent,
    },
    { ...limits, backoff: backoffDefault },
  );
  return {
    publish: publisher.publish.bind(publisher),
    status: () => publisher.status(),
    close: async (timeoutMs) => await publisher.close(timeoutMs),
    [Symbol.asyncDispose]: async () => {
      await publisher.close(1_000);
      await client.end();
      await hands[Symbol.asyncDispose]();
    },
  };
};
