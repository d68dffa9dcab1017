//! How the migrator writes: several statements in one message of the simple protocol, which PostgreSQL runs as one
//! transaction. It happens wholly or not at all, wherever a process or a connection dies; a transaction spread over
//! several messages could go on, half of it, on another connection.

import { messageOf, PgstreamError } from "../../../core/errors.ts";
import type { PostgresClient } from "../client.ts";
import { quoteText } from "../quote.ts";

export interface MessageOptions {
  /** How long it may take, waiting for another migrator included. */
  readonly deadlineMs: number;
}

// Names are looked up in pg_catalog alone, so that nothing in other schemas can be mistaken for what was meant. Only one
// migrator of a database writes at a time. Waiting for a table's lock is kept short: everybody else queues behind it.
const preamble = [
  `set local search_path = pg_catalog, pg_temp`,
  `set local statement_timeout = 0`,
  `set local lock_timeout = '5s'`,
  `select pg_advisory_xact_lock(1885827956, 1)`,
  `set local lock_timeout = '100ms'`,
];

/**
 * Runs the statements as one transaction, one migrator at a time. They must not end the transaction themselves.
 * @throws PgstreamError what {@link PostgresClient.run} throws; a lock that was not to be had is retryable
 */
export const runAsOne = async (
  client: PostgresClient,
  statements: readonly string[],
  { deadlineMs }: MessageOptions,
): Promise<void> => {
  // A statement may end with a comment, hence the line end.
  const text = [...preamble, ...statements].map((it) => `${it}\n;\n`).join("");
  await client.run((sql) => sql.unsafe(text).simple(), deadlineMs);
};

/** `comment on … is`, which takes no parameter. */
export const commentOn = (object: string, text: string): string =>
  `comment on ${object} is ${quoteText(text)}`;

/**
 * Does `work`; where the user lacks a right, says which statements an administrator can run instead.
 * @param statements without secrets
 * @param afterwards what there is to do besides, e.g. with a setting
 */
export const orAskAdministrator = async <T>(
  work: () => Promise<T>,
  statements: readonly string[],
  afterwards = "",
): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof PgstreamError) || error.code !== "permission_denied") throw error;
    throw new PgstreamError(
      "permission_denied",
      // The server's own words: what a right is missing for follows.
      `the migrator's user may not do this (${messageOf(error.cause ?? error)}); let an administrator run: ${statements.map((it) => `${it};`).join(" ")}${afterwards}`,
      { cause: error, details: { ...error.details, statements } },
    );
  }
};
