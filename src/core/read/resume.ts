//! Where a subscription goes on: at its stored cursor, at the configured start, or, if told so, at a new epoch's beginning, or on the way
//! there.

import { decodeCursor } from "../cursor-codec.ts";
import { type Cursor, inWindow, isCrossing } from "../cursor.ts";
import { PgstreamError } from "../errors.ts";
import type { Epoch, Log } from "../log.ts";
import type { Logger } from "../ports.ts";
import { fullSnapshot } from "../snapshot.ts";
import { beginningOf, type From, startCursor } from "./start.ts";

export interface ResumeOptions {
  /** Where to start when nothing is stored. */
  readonly from: From;
  readonly onEpochChange: OnEpochChange;
}

/**
 * `stop`: end with `epoch_changed` or `unknown_epoch`; `cross`: what the log still holds of an earlier epoch of its own first, then the
 * new one, and in whichever epoch that is where it begins at the earliest event or at an id; `restart`: start over at the new epoch's first event.
 */
export type OnEpochChange = "stop" | "cross" | "restart";

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
  /** The epochs from that of the cursor to the newest, where it has to cross. */
  readonly path: readonly Epoch[];
}

const startOver = async (
  log: Log,
  epoch: Epoch,
  why: PgstreamError,
  { onEpochChange, logger }: ResumeOptions & { readonly logger: Logger },
): Promise<Place> => {
  if (onEpochChange !== "restart") throw why;
  logger.warn({ code: why.code, epoch: epoch.id }, "starting over at the new epoch's first event");
  // Whoever was in an earlier epoch of this log is told what retention has removed of this one since.
  const cursor =
    why.code === "epoch_changed" ? beginningOf(epoch) : await startCursor(log, epoch, { kind: "earliest" });
  return { epoch, cursor, isPassing: false, path: [] };
};

/** Behind `after` in an epoch that is over. What retention removed before it began is no gap. */
const within = (path: readonly Epoch[], after: bigint, purge: bigint): Omit<Place, "isPassing"> | null => {
  const [epoch] = path;
  const newest = path.at(-1);
  if (epoch === undefined || newest === undefined || epoch === newest) return null;
  return { epoch: newest, cursor: inWindow({ ...beginningOf(epoch), purge }, fullSnapshot, after), path };
};

/**
 * Where a new subscription starts that starts in an epoch that is over; null for one that starts in the newest. Earliest is behind
 * the last segment that was emptied, in whichever epoch that was.
 */
const startBefore = async (log: Log, newest: Epoch, start: From): Promise<Place | null> => {
  if (start.kind === "id" && start.id < newest.firstId) {
    const epochs = await log.epochsSince(null);
    const { purge } = await log.starts.floor(newest);
    const from = Math.max(
      0,
      epochs.findLastIndex(({ firstId }) => firstId <= start.id),
    );
    const place = within(epochs.slice(from), start.id - 1n, purge);
    return place === null ? null : { ...place, isPassing: true };
  }
  if (start.kind !== "earliest") return null;
  const epochs = await log.epochsSince(null);
  for (const [index, epoch] of [...epochs.entries()].toReversed()) {
    const { segments, purge } = await log.starts.floor(epoch);
    if (segments === null && index > 0) continue;
    const place = within(epochs.slice(index), segments?.lastId ?? epoch.firstId - 1n, purge);
    return place === null ? null : { ...place, isPassing: false };
  }
  return null;
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
    if (from.kind === "cursor" && isCrossing(from.cursor)) {
      throw new PgstreamError(
        "database_went_back",
        "this cursor was on its way out of the epoch that the database is in: it is an older one than the one it was read from; look which of them is the primary",
      );
    }
    const before =
      cursor === null && onEpochChange === "cross" ? await startBefore(log, newest, start) : null;
    if (before !== null) return before;
    const isPassing = stored === null && start.kind !== "earliest" && start.kind !== "cursor";
    return { epoch: newest, cursor: await startCursor(log, newest, from), isPassing, path: [] };
  }
  const path = wanted === null ? [] : await log.epochsSince(wanted);
  const why =
    wanted === null || path.length > 0
      ? new PgstreamError(
          "epoch_changed",
          "the database is not the one this cursor was taken on: it was promoted, restored or recreated since; cross to the new epoch with ON_EPOCH_CHANGE=cross (onEpochChange), or start over in it with restart",
          { details: { cursorEpoch: wanted, newestEpoch: newest.id } },
        )
      : new PgstreamError(
          "unknown_epoch",
          "the cursor belongs to another log: this database has never known its epoch; check DATABASE_URL, or start over with ON_EPOCH_CHANGE=restart (onEpochChange)",
          { details: { cursorEpoch: wanted, newestEpoch: newest.id } },
        );
  if (!isRunning && (onEpochChange !== "stop" || wanted === null)) {
    throw new PgstreamError(
      "epoch_changed",
      "waiting for the purger, or the first publish, on this server: it opens a new epoch",
      { retryable: true },
    );
  }
  if (onEpochChange === "cross" && from.kind === "cursor" && path.length > 1) {
    logger.warn(
      { from: wanted, to: newest.id },
      "the epoch has changed: first what the log still holds of the earlier one",
    );
    return { epoch: newest, cursor: from.cursor, isPassing: false, path };
  }
  return await startOver(log, newest, why, { from: start, onEpochChange, logger });
};
