//! Opens the file. Two processes may use it at once: writers queue by SQLite's own lock, readers never wait (WAL).

import { Database, SQLiteError } from "bun:sqlite";

import { messageOf, PgstreamError } from "../../core/errors.ts";
import { storeError } from "./sqlite-error.ts";

/**
 * The file that a store URL names: `sqlite:./file`, `sqlite:/file`, `sqlite:///file`, or `sqlite::memory:`.
 * @throws PgstreamError `invalid_config`
 */
export const pathOf = (url: string): string => {
  const path = url.startsWith("sqlite:") ? url.slice("sqlite:".length).replace(/^\/\/(?=\/)/, "") : "";
  if (path !== "" && !path.startsWith("//") && !path.includes("\u0000")) return path;
  throw new PgstreamError(
    "invalid_config",
    "the store URL names no SQLite file: write sqlite:./file.sqlite or sqlite:/path/to/file.sqlite",
  );
};

const open = (path: string): Database => {
  try {
    return new Database(path, { create: true, readwrite: true, safeIntegers: true, strict: true });
  } catch (cause) {
    throw new PgstreamError(
      "invalid_config",
      `cannot open the SQLite store ${path}: ${messageOf(cause)}; check that its folder exists and can be written to`,
      { cause },
    );
  }
};

const switchDelayMs = 5;

/** Of two that switch a new file at once, SQLite turns one away and does not let it wait: each waits for the other's lock. */
const switchToWal = (database: Database, lockedMsMax: number): void => {
  const dueAt = performance.now() + lockedMsMax;
  for (;;) {
    try {
      database.run("pragma journal_mode = wal");
      return;
    } catch (error) {
      const isLocked = error instanceof SQLiteError && error.code === "SQLITE_BUSY";
      if (!isLocked || performance.now() >= dueAt) throw error;
      Bun.sleepSync(switchDelayMs);
    }
  }
};

/**
 * @param lockedMsMax how long a statement waits for another process's lock; the whole process waits with it
 * @throws PgstreamError `invalid_config`, `store_unavailable`, `store_error`
 */
export const connect = (path: string, lockedMsMax: number): Database => {
  const database = open(path);
  try {
    // The timeout first: the switch to WAL itself needs the lock. FULL, because what was committed must survive a
    // power failure; in WAL mode NORMAL would not sync at a commit.
    database.run(`pragma busy_timeout = ${lockedMsMax}`);
    switchToWal(database, lockedMsMax);
    database.run("pragma synchronous = full");
    return database;
  } catch (cause) {
    database.close();
    throw storeError(`open ${path}`, cause);
  }
};
