//! How one type of event becomes documents.

import type { z } from "zod";

import { messageOf, PgstreamError } from "../core/errors.ts";
import type { Event } from "../core/event.ts";
import type { DocumentWrite } from "../core/subscribe/store.ts";

export interface Projection {
  readonly topic: string;
  readonly type: string;
  /** @throws PgstreamError `handler_failed` when the event does not hold what its type says */
  readonly project: (event: Event) => readonly DocumentWrite[];
}

const issueOf = ({ issues }: z.ZodError): string => {
  const [first] = issues;
  if (first === undefined) return "it does not have the form expected";
  const where = first.path.map(String).join(".");
  return where === "" ? first.message : `${where}: ${first.message}`;
};

const failed = ({ id, topic, type }: Event, why: string, cause: unknown): PgstreamError =>
  new PgstreamError("handler_failed", `event ${id} on topic ${topic} is no ${type}: ${why}`, {
    cause,
    details: { eventId: id.toString(), topic, type },
  });

/** The event's data, or why it cannot be had: what a publisher sent need not even be JSON that we can hold. */
const dataOf = (event: Event): unknown => {
  try {
    return event.data;
  } catch (cause) {
    throw failed(event, messageOf(cause), cause);
  }
};

/** Parses an event's data. What the schema does not know is left out. */
export const parseData = <T>(schema: z.ZodType<T>, event: Event): T => {
  const parsed = schema.safeParse(dataOf(event));
  if (parsed.success) return parsed.data;
  throw failed(event, issueOf(parsed.error), parsed.error);
};
