//! Appends a batch through publish_batch, one statement, with the hint right behind it: implements EventAppender.

import { messageOf } from "../../../core/errors.ts";
import type { EncodedEvent } from "../../../core/event.ts";
import type { Logger } from "../../../core/ports.ts";
import type { EventAppender } from "../../../core/publish/append-until-known.ts";
import type { PostgresClient, Sql } from "../client.ts";
import { separator } from "../joined-text.ts";
import { notify } from "./hints.ts";

type Column = "data" | "key" | "type" | "headers" | "idempotencyKey";

/** One text per column is the fastest way in through a function; null when no event has a value there. */
const column = (events: readonly EncodedEvent[], name: Column): string | null =>
  events.some((event) => event[name] !== null)
    ? events.map((event) => event[name] ?? "").join(separator)
    : null;

/** Each topic once, and which of them each event is on, from 1. */
const topicsOf = (events: readonly EncodedEvent[]) => {
  const numbers = new Map<string, number>();
  const perEvent = events.map(({ topic }) => {
    const number = numbers.get(topic) ?? numbers.size + 1;
    numbers.set(topic, number);
    return number;
  });
  return { names: new Set(numbers.keys()), numbers: `{${perEvent.join(",")}}` };
};

/**
 * Of `{1,2,3}`, or of the first one alone where the others follow it without a gap, as they mostly do: thousands of ids
 * are a millisecond's work otherwise, on both sides.
 */
const idsOf = (answer: string, count: number): readonly bigint[] => {
  if (answer.startsWith("{")) return answer.slice(1, -1).split(",").map(BigInt);
  const first = BigInt(answer);
  return Array.from({ length: count }, (_, index) => first + BigInt(index));
};

/** Without idempotency keys ids only grow, so the first and the last tell whether there is a gap. */
const shortest = (sql: Sql, count: number) => sql`
  case when ids[${count}::integer] - ids[1] = ${count}::integer - 1 then ids[1]::text else ids::text end`;

export const makeEventAppender = (client: PostgresClient, logger: Logger): EventAppender => {
  const onHintLost = (error: unknown): void => {
    logger.debug({ error: messageOf(error) }, "a hint was lost; polling covers for it");
  };
  return {
    append: async ({ publisher, number, events }) => {
      const topics = topicsOf(events);
      const rows = await client.run((sql) => {
        const keys = column(events, "idempotencyKey");
        const answer = sql<{ ids: string }[]>`
          select ${keys === null ? shortest(sql, events.length) : sql`ids::text`} as ids
          from pgstream.publish_batch(
            ${[...topics.names].join(separator)}::text,
            ${column(events, "data")}::text,
            ${column(events, "key")}::text,
            ${column(events, "type")}::text,
            ${column(events, "headers")}::text,
            ${keys}::text,
            ${publisher}::uuid,
            ${number}::bigint,
            false,
            ${topics.numbers}::text::integer[]
          ) ids`.execute();
        // Down the same connection, so after the commit and without a round trip. A hint for nothing is harmless.
        notify(sql, topics.names).catch(onHintLost);
        return answer;
      });
      const ids = rows[0]?.ids;
      return ids === undefined ? [] : idsOf(ids, events.length);
    },
  };
};
