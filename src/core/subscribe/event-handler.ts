//! What an application implements, and how it is asked: its own errors about its cursor are waited out, as an outage of the log is.

import { encodeCursor } from "../cursor-codec.ts";
import type { Cursor } from "../cursor.ts";
import { messageOf, PgstreamError } from "../errors.ts";
import type { Event } from "../event.ts";

export interface HandleContext {
  /** Where the subscription stands when this batch is done: opaque text. Store it together with the effect. */
  readonly cursor: string;
  /** Aborts when the subscription is to stop. The batch in hand may finish: when it does, it counts. */
  readonly signal: AbortSignal;
}

/** What an application implements: the two halves *handle these events* and *where was I*. */
export interface EventHandler {
  /**
   * Handles one ordered batch, never empty, never two at once. When it resolves, the batch is done. It must be
   * idempotent on `event.id`, or commit its effect and `cursor` together. When it rejects, the same batch comes again, unless
   * its cursor turns out to be stored: a bounded number of times, or for ever when the error is a PgstreamError that says
   * `retryable`.
   */
  readonly handle: (events: readonly Event[], context: HandleContext) => Promise<void>;
  /**
   * The cursor of the last batch done, null when there is none. Asked at start, after every reconnect, and before a batch comes again.
   * When it rejects it is asked again, for as long as an outage lasts, unless with a PgstreamError that is not `retryable`; so is
   * `advance`.
   */
  readonly cursor: () => Promise<string | null>;
  /**
   * Told where a new subscription starts that does not start at the earliest event, and now and then that it moved past
   * events of other topics. Storing the first keeps one that started at `latest` from starting later after a restart before
   * its first event; the others save work.
   */
  readonly advance?: (cursor: string, signal: AbortSignal) => Promise<void>;
}

/** What the application keeps may be out of reach as the log may be: its own errors are waited out too. */
const outlasting = async <T>(ask: () => Promise<T>): Promise<T> => {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof PgstreamError) throw cause;
    throw new PgstreamError("store_unavailable", `the cursor cannot be reached: ${messageOf(cause)}`, {
      cause,
      retryable: true,
    });
  }
};

/**
 * Where the application was. Nothing is as good as null: a row that is not there yet has no cursor.
 * @throws PgstreamError `invalid_cursor` when it is no text
 */
export const storedCursor = async (handler: EventHandler): Promise<string | null> => {
  const cursor: unknown = (await outlasting(async () => await handler.cursor())) ?? null;
  if (cursor === null || typeof cursor === "string") return cursor;
  throw new PgstreamError(
    "invalid_cursor",
    `the cursor that the application answered is of type ${typeof cursor}: answer the text that handle was given, or null`,
  );
};

/** Tells the application where it is, if it wants to know. */
export const advance = async (handler: EventHandler, cursor: Cursor, signal: AbortSignal): Promise<void> =>
  await outlasting(async () => await handler.advance?.(encodeCursor(cursor), signal));

/** The cursor is encoded when first asked for, so that nobody waits for it before the events: mostly it is stored after them. */
export const contextOf = (after: Cursor, signal: AbortSignal): HandleContext => {
  let cursor: string | null = null;
  return {
    get cursor() {
      cursor ??= encodeCursor(after);
      return cursor;
    },
    signal,
  };
};
