//! What PostgreSQL's SQLSTATEs, and the driver's own codes, mean to us. The only place that knows them.

import { type ErrorCode, messageOf, PgstreamError } from "../../core/errors.ts";

/** Raised by our own functions: migrations/0002_publish.sql and after. */
const ours: Readonly<Record<string, ErrorCode>> = {
  PS001: "invalid_event",
  PS002: "invalid_topic",
  PS003: "unknown_topic",
  PS004: "event_too_large",
  PS005: "idempotency_conflict",
  PS006: "publish_unknown",
  PS007: "internal",
  PS008: "not_migrated",
};

const theirs: Readonly<Record<string, ErrorCode>> = {
  "22P02": "invalid_event", // invalid text representation: not JSON
  "22P05": "invalid_event", // untranslatable character
  "22021": "invalid_event", // not in the encoding
  "54001": "invalid_event", // nested too deep for the parser
  "42501": "permission_denied",
  "3F000": "not_migrated", // no such schema
  "42P01": "not_migrated", // no such table
  "42883": "not_migrated", // no such function
  "42703": "not_migrated", // no such column
  "25006": "standby", // read-only transaction
};

/** Waiting may help: locks, serialisation, resources, a server that starts or stops. */
const retryable = /^(?:55P03|40001|40P01|53...|57P0[1-5]|57014|08...|25006)$/;

/** The server ends the session. */
const sessionEnds = /^(?:57P0[1-5]|08...)$/;

/** There was no connection yet, so nothing went down it: the driver's words, the sockets', and the server's while it starts. */
const neverConnected = /^(?:CONNECT_TIMEOUT|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ENOENT|57P03)$/;

/** The driver's word for a mistake of ours. */
const misuse =
  /^(?:UNDEFINED_VALUE|NOT_TAGGED_CALL|UNSAFE_TRANSACTION|MAX_PARAMETERS_EXCEEDED|COPY_IN_PROGRESS)$/;

const codeOf = (error: unknown): string | null =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;

/** The SQLSTATE of an error of the server, null for any other error. */
export const sqlstateOf = (error: unknown): string | null => {
  const code = codeOf(error);
  return code !== null && /^(?:[0-9]|F0|HV|P0|PS|XX)[0-9A-Z]+$/.test(code) ? code : null;
};

/** What a pooler says that cannot carry settings of a session, before it takes a statement. Waiting does not help, but whoever runs it may. */
const isRefusedByPooler = (error: unknown): boolean => /unsupported startup parameter/.test(messageOf(error));

const poolerHint =
  '; a pooler takes no settings of a session: give a publisher "pooled: true" and a subscription "wakeups: \'poll\'", the role consumer and verify WAKEUPS=poll, and all others the address of the server itself';

/**
 * The error when the connection broke or never came about, null when the server answered and the connection is well.
 * Everything that is not the server's answer counts: sockets, TLS, certificates, and the bare TypeError that the driver
 * throws when its socket vanishes under it.
 */
export const connectionErrorOf = (error: unknown): PgstreamError | null => {
  const code = codeOf(error);
  const isWell =
    sqlstateOf(error) === null ? code !== null && misuse.test(code) : !sessionEnds.test(code ?? "");
  if (isWell) return null;
  const isRefused = isRefusedByPooler(error);
  const isUnsent = code !== null && (isRefused || neverConnected.test(code));
  return new PgstreamError(
    "database_unavailable",
    `the database is not reachable: ${messageOf(error)}${isRefused ? poolerHint : ""}`,
    {
      cause: error,
      retryable: true,
      details: code === null ? {} : { cause: code, ...(isUnsent ? { sent: false } : {}) },
    },
  );
};

/** The next step where a right is missing. The server's messages may be in any language: its routine tells that it is about an object. */
const grantHint = (error: unknown): string =>
  error instanceof Error && "routine" in error && error.routine === "aclcheck_error"
    ? ": to publish grant this login pgstream_producer, to subscribe pgstream_consumer, to purge pgstream_purger; to migrate it has to own the schema"
    : "";

/** An error that the server answered with. */
export const databaseErrorOf = (error: unknown): PgstreamError => {
  const state = sqlstateOf(error) ?? "";
  const code = ours[state] ?? theirs[state] ?? "database_error";
  const isIncomplete = code === "not_migrated" && ours[state] === undefined;
  const hint = isIncomplete
    ? ": run the migrator (ROLES=migrator)"
    : code === "permission_denied"
      ? grantHint(error)
      : state === "25006"
        ? ": this server is a standby, or default_transaction_read_only is on for it, the database or the login"
        : "";
  return new PgstreamError(code, `${messageOf(error)}${hint}`, {
    cause: error,
    retryable: retryable.test(state),
    details: { sqlstate: state },
  });
};
