//! The client, with every concern and limit spelled out. It connects when first used, and reconnects by itself.

import { MongoClient, type MongoClientOptions } from "mongodb";

import { messageOf, PgstreamError } from "../../core/errors.ts";

/** What waits for a server, a socket or a free connection gives up by then; the driver's own `timeoutMS` does nothing. */
const limits = (deadlineMs: number): MongoClientOptions => ({
  // A little before our own deadline, for the driver can say why there is no server.
  serverSelectionTimeoutMS: Math.ceil(0.9 * deadlineMs),
  connectTimeoutMS: deadlineMs,
  socketTimeoutMS: deadlineMs,
  waitQueueTimeoutMS: deadlineMs,
  maxPoolSize: 10,
});

// A cursor that a failover can take back would be a lie. Ids are 64 bits: a double rounds them beyond 2^53.
const honest: MongoClientOptions = {
  writeConcern: { w: "majority", journal: true },
  readConcern: { level: "majority" },
  readPreference: "primary",
  retryWrites: true,
  retryReads: true,
  useBigInt64: true,
  appName: "pgstream",
};

// Up to the last "@": a password that is not percent-encoded, as it should be, may contain one.
const withoutCredentials = (text: string): string => text.replaceAll(/\/\/\S*@/g, "//***@");

/**
 * @param ca certificates to trust, PEM; turns TLS on. Null leaves both to the URL.
 * @throws PgstreamError `invalid_config`
 */
export const connect = (url: string, ca: string | null, deadlineMs: number): MongoClient => {
  try {
    return new MongoClient(url, {
      ...limits(deadlineMs),
      ...honest,
      ...(ca === null ? {} : { tls: true, ca }),
    });
  } catch (error) {
    // No cause: it may quote the URL, password and all.
    // oxlint-disable-next-line eslint/preserve-caught-error
    throw new PgstreamError(
      "invalid_config",
      `the store URL is not one of MongoDB: ${withoutCredentials(messageOf(error))}`,
    );
  }
};

/** The database that the URL names; without one, `consumer`. The driver alone would say `test`. */
export const databaseNameOf = (url: string): string => {
  const name = /^mongodb(?:\+srv)?:\/\/[^/]+\/(?<name>[^?]+)/.exec(url)?.groups?.["name"];
  return name === undefined ? "consumer" : decodeURIComponent(name);
};
