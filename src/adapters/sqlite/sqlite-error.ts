//! SQLite's error codes, told apart by one question: may waiting mend it?

import { SQLiteError } from "bun:sqlite";

import { messageOf, PgstreamError } from "../../core/errors.ts";

// Locked by another process, no space left, a disk or a network share that hiccups: all of them pass, or are mended
// without touching this process.
const passing = /^SQLITE_(?:BUSY|LOCKED|FULL|IOERR|NOMEM|CANTOPEN|PROTOCOL)/;

/** @param doing what was attempted, e.g. `commit a batch` */
export const storeError = (doing: string, cause: unknown): PgstreamError => {
  if (cause instanceof PgstreamError) return cause;
  const code = cause instanceof SQLiteError ? (cause.code ?? "") : "";
  const sentence = `the SQLite store could not ${doing}: ${messageOf(cause)}`;
  return passing.test(code)
    ? new PgstreamError("store_unavailable", sentence, { cause, retryable: true, details: { sqlite: code } })
    : new PgstreamError("store_error", sentence, { cause, details: { sqlite: code } });
};
