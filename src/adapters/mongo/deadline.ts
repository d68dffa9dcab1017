//! Every call ends by its deadline, whatever the driver does: a server that accepts and never answers would hold it.

import { PgstreamError } from "../../core/errors.ts";
import { storeError } from "./mongo-error.ts";

/** Runs one call of the store: `doing` says what for, in an error. */
export type Within = <T>(doing: string, call: (signal: AbortSignal) => Promise<T>) => Promise<T>;

/**
 * The signal aborts at the deadline, for calls that consist of several steps: the step under way may still reach the
 * server, none follows it. All that the store writes is safe to repeat, so the caller may try again.
 * @param connect waits until the client is connected, as every call has to
 */
export const makeWithin =
  (deadlineMs: number, connect: () => Promise<void>): Within =>
  async (doing, call) => {
    const expired = new AbortController();
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      const error = new PgstreamError(
        "store_unavailable",
        `the MongoDB store did not ${doing} within ${deadlineMs} ms`,
        { retryable: true },
      );
      expired.abort(error);
      reject(error);
    }, deadlineMs);
    try {
      const work = async () => {
        await connect();
        expired.signal.throwIfAborted();
        return await call(expired.signal);
      };
      return await Promise.race([work(), promise]);
    } catch (cause) {
      throw storeError(doing, cause);
    } finally {
      clearTimeout(timer);
    }
  };
