//! MongoDB's failures, told apart by one question: may waiting mend it?

import {
  MongoBulkWriteError,
  MongoError,
  MongoNetworkError,
  MongoServerError,
  MongoServerSelectionError,
} from "mongodb";

import { messageOf, PgstreamError } from "../../core/errors.ts";

const duplicateKey = 11_000;

// Elections, shutdowns, time limits and conflicts. Numbers as in MongoDB's own error_codes.yml.
const passingCodes = new Set<unknown>([
  6, // HostUnreachable
  7, // HostNotFound
  50, // MaxTimeMSExpired
  64, // WriteConcernTimeout
  89, // NetworkTimeout
  91, // ShutdownInProgress
  112, // WriteConflict
  133, // FailedToSatisfyReadPreference
  134, // ReadConcernMajorityNotAvailableYet
  189, // PrimarySteppedDown
  251, // NoSuchTransaction: the primary changed, or it took too long
  262, // ExceededTimeLimit
  9_001, // SocketException
  10_058, // LegacyNotPrimary
  10_107, // NotWritablePrimary
  11_600, // InterruptedAtShutdown
  11_602, // InterruptedDueToReplStateChange
  13_435, // NotPrimaryNoSecondaryOk
  13_436, // NotPrimaryOrSecondary
  14_031, // OutOfDiskSpace
]);
const passingLabels = ["TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError"];

/** A bulk write dresses up whatever broke it, a lost connection too, as an error of the server. */
const undressed = (error: unknown): unknown => {
  const inner: unknown = error instanceof MongoBulkWriteError ? error.errorResponse : undefined;
  return inner instanceof MongoError ? inner : error;
};

/** The driver passes on what the resolver says of a `mongodb+srv:` name; that of a plain host is a failure to select it. */
const isOfResolver = (error: unknown): boolean =>
  error instanceof Error && "syscall" in error && /^query(?:Srv|Txt)$/.test(String(error.syscall));

const isPassing = (error: unknown): boolean =>
  isOfResolver(error) ||
  error instanceof MongoNetworkError ||
  error instanceof MongoServerSelectionError ||
  (error instanceof MongoError &&
    (passingCodes.has(error.code) || passingLabels.some((it) => error.hasErrorLabel(it))));

/** @param doing what was attempted, e.g. `commit a batch` */
export const storeError = (doing: string, cause: unknown): PgstreamError => {
  if (cause instanceof PgstreamError) return cause;
  const details = { mongo: cause instanceof MongoServerError ? cause.code : undefined };
  const sentence = `the MongoDB store could not ${doing}: ${messageOf(cause)}`;
  return isPassing(undressed(cause))
    ? new PgstreamError("store_unavailable", sentence, { cause, retryable: true, details })
    : new PgstreamError("store_error", sentence, { cause, details });
};

const isBulkOfDuplicates = (error: MongoBulkWriteError): boolean => {
  const failed = [error.writeErrors].flat();
  // What was written may still lack its majority: that is another failure, and it counts.
  const isDurable = error.result.getWriteConcernError() === undefined;
  return isDurable && failed.length > 0 && failed.every(({ code }) => code === duplicateKey);
};

/** Whether all that went wrong is that documents of these ids exist already. */
export const isDuplicateKey = (error: unknown): boolean =>
  error instanceof MongoBulkWriteError
    ? isBulkOfDuplicates(error)
    : error instanceof MongoServerError && error.code === duplicateKey;
