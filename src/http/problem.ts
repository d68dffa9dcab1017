//! The one table from what went wrong to what the client hears. A message leaves the process only when the client can
//! act on it; everything else is for the log.

import { PgstreamError, type ErrorCode } from "../core/errors.ts";

/** Failures that only exist in HTTP. */
type HttpCode = "not_found" | "malformed_request" | "invalid_request" | "unavailable";

export interface Problem {
  readonly status: number;
  readonly code: ErrorCode | HttpCode;
  readonly message: string;
}

const statusOf: Readonly<Record<ErrorCode, number>> = {
  invalid_config: 500,
  invalid_event: 422,
  invalid_topic: 422,
  invalid_cursor: 422,
  event_too_large: 413,
  unknown_topic: 404,
  idempotency_conflict: 409,
  publish_unknown: 503,
  epoch_changed: 409,
  unknown_epoch: 409,
  database_went_back: 503,
  events_purged: 410,
  standby: 503,
  not_migrated: 503,
  schema_newer: 503,
  migration_tampered: 503,
  unsafe_durability: 503,
  permission_denied: 500,
  database_unavailable: 503,
  database_error: 500,
  store_unavailable: 503,
  store_error: 500,
  handler_failed: 500,
  lease_lost: 503,
  internal: 500,
};

const retryLater = "not possible now; try again later";
const seeLog = "something went wrong here; the log says more";

export const httpProblems = {
  notFound: { status: 404, code: "not_found", message: "there is nothing here; GET / lists what there is" },
  malformed: {
    status: 400,
    code: "malformed_request",
    message: "the body is not what its content type says",
  },
  internal: { status: 500, code: "internal", message: seeLog },
} as const satisfies Record<string, Problem>;

export const unavailable = (message: string): Problem => ({ status: 503, code: "unavailable", message });

/** @param where the part of the request at fault, e.g. `query /limit` */
export const invalidRequest = (where: string): Problem => ({
  status: 422,
  code: "invalid_request",
  message: `${where} does not have the form that is expected here`,
});

/** What a client may know of anything thrown. */
export const problemOf = (error: unknown): Problem => {
  if (!(error instanceof PgstreamError)) return httpProblems.internal;
  const { code, message } = error;
  const status = statusOf[code];
  if (status < 500) return { status, code, message };
  return { status, code, message: status === 503 ? retryLater : seeLog };
};
