//! The one error class. Callers decide by `code` and `retryable`, never by the message.

/** What went wrong, for a program. Stable: documented in docs/OPERATIONS.md, never renamed. */
export type ErrorCode =
  // the user's input
  | "invalid_config"
  | "invalid_event"
  | "invalid_topic"
  | "invalid_cursor"
  | "event_too_large"
  | "unknown_topic"
  | "idempotency_conflict"
  // the log
  | "publish_unknown"
  | "epoch_changed"
  | "unknown_epoch"
  | "database_went_back"
  | "events_purged"
  | "standby"
  | "not_migrated"
  | "schema_newer"
  | "migration_tampered"
  | "unsafe_durability"
  | "permission_denied"
  // the outside world
  | "database_unavailable"
  | "database_error"
  | "store_unavailable"
  | "store_error"
  // consuming
  | "handler_failed"
  | "lease_lost"
  // ours
  | "internal";

export interface PgstreamErrorOptions {
  readonly cause?: unknown;
  /** Whether the same call may succeed later without anybody changing anything. Default false. */
  readonly retryable?: boolean;
  /** Facts for the log and the HTTP answer; no secrets, no event data. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export class PgstreamError extends Error {
  override readonly name = "PgstreamError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  /** @param message one line: what, where, how to mend */
  constructor(code: ErrorCode, message: string, options: PgstreamErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
  }
}

/** Whether `error` says that waiting may help. Unknown errors do not: they are bugs until proven otherwise. */
export const isRetryable = (error: unknown): boolean => error instanceof PgstreamError && error.retryable;

export const hasCode = (error: unknown, ...codes: readonly ErrorCode[]): error is PgstreamError =>
  error instanceof PgstreamError && codes.includes(error.code);

/** One line for a log or a terminal, whatever was thrown. */
export const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, " ");
