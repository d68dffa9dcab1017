//! Where a subscription goes on: at its stored cursor, at the configured start, or, if told so, at a new epoch's beginning.

import { decodeCursor } from "../cursor-codec.ts";
import type { Cursor } from "../cursor.ts";
import { PgstreamError } from "../errors.ts";
import type { Epoch, Log } from "../log.ts";
import type { Logger } from "../ports.ts";
import { beginningOf, type From, startCursor } from "./start.ts";

export interface ResumeOptions {
  /** Where to start when nothing is stored. */
  readonly from: From;
  readonly onEpochChange: "stop" | "restart";
}

/** What is known of where it was. */
export interface Known {
  /** What the application stored; null when it is new. */
  readonly stored: string | null;
  /** Where it started in this process. */
  readonly started: Cursor | null;
}

export interface Place {
  readonly epoch: Epoch;
  readonly cursor: Cursor;
  /** It is stored nowhere, and who asks the log again may be told another one. */
  readonly isPassing: boolean;
}

const startOver = async (
  log: Log,
  epoch: Epoch,
  why: PgstreamError,
  { onEpochChange, logger }: ResumeOptions & { readonly logger: Logger },
): Promise<Place> => {
  if (onEpochChange === "stop") throw why;
  logger.warn({ code: why.code, epoch: epoch.id }, "starting over at the new epoch's first event");
  // Whoever was in an earlier epoch of this log is told what retention has removed of this one since.
  const cursor =
    why.code === "epoch_changed" ? beginningOf(epoch) : await startCursor(log, epoch, { kind: "earliest" });
  return { epoch, cursor, isPassing: false };
};

/** @throws PgstreamError `epoch_changed`, `unknown_epoch`, `invalid_cursor` */
export const findCursor = async (
  log: Log,
  { stored, started }: Known,
  { from: start, onEpochChange }: ResumeOptions,
  logger: Logger,
): Promise<Place> => {
  const { newest, isRunning } = await log.epoch();
  const cursor = stored === null ? started : decodeCursor(stored);
  const from: From = cursor === null ? start : { kind: "cursor", cursor };
  const wanted = from.kind === "cursor" ? from.cursor.epoch : null;
  if (isRunning && (wanted === null || wanted === newest.id)) {
    const isPassing = stored === null && start.kind !== "earliest" && start.kind !== "cursor";
    return { epoch: newest, cursor: await startCursor(log, newest, from), isPassing };
  }
  const known = wanted === null || (await log.knowsEpoch(wanted));
  const why = known
    ? new PgstreamError(
        "epoch_changed",
        "the database is not the one this cursor was taken on: it was promoted, restored or recreated since; look what it lost, then start over with ON_EPOCH_CHANGE=restart",
        { details: { cursorEpoch: wanted, newestEpoch: newest.id } },
      )
    : new PgstreamError(
        "unknown_epoch",
        "the cursor belongs to another log: this database has never known its epoch; check DATABASE_URL, or start over with ON_EPOCH_CHANGE=restart",
        { details: { cursorEpoch: wanted, newestEpoch: newest.id } },
      );
  if (!isRunning && (onEpochChange === "restart" || wanted === null)) {
    throw new PgstreamError(
      "epoch_changed",
      "waiting for the purger, or the first publish, on this server: it opens a new epoch",
      { retryable: true },
    );
  }
  return await startOver(log, newest, why, { from: start, onEpochChange, logger });
};
