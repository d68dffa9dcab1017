//! One connection to Postgres that is never trusted for longer than a deadline.
//!
//! A query on a half-open socket hangs for a quarter of an hour, whatever timeout the server was given. So every
//! statement has a deadline on this side; when it passes, or the connection breaks, the driver's client is thrown away,
//! and the next statement gets a new one. A write that ended so may have committed: its caller knows that it is unknown.

import postgres from "postgres";

import { PgstreamError } from "../../core/errors.ts";
import { addressOf } from "./address.ts";
import { makeMomentReader } from "./moment.ts";
import { connectionErrorOf, databaseErrorOf } from "./sqlstate.ts";

export type Sql = postgres.Sql<{ bigint: bigint }>;

/** Where to connect, and how to know that it is the right server. */
export interface PostgresTarget {
  /** Says nothing about TLS; may hold a password: never log it. */
  readonly url: string;
  /** `verify` checks the certificate's chain and its host name; `no-verify` only encrypts. */
  readonly tls: "off" | "verify" | "no-verify";
  /** Certificates to trust, PEM; null for the system's. */
  readonly ca: string | null;
}

export interface ClientOptions {
  /** Shows in pg_stat_activity, after "pgstream ". */
  readonly name: string;
  /** The longest a statement may take, connecting included. */
  readonly deadlineMs: number;
  /** False behind a pooler that hands out another connection per transaction. Default true. */
  readonly ownConnection?: boolean;
  /** Settings of the session, e.g. `plan_cache_mode`; none can be given through a pooler. */
  readonly session?: Readonly<Record<string, string>>;
  /** Ends the client when it aborts: what is on its way to a server that is silent would keep everybody until its deadline. */
  readonly signal?: AbortSignal;
}

export interface PostgresClient extends AsyncDisposable {
  /**
   * Runs one statement, or several down the one connection in the order given.
   * @throws PgstreamError `database_unavailable` (retryable) when the connection broke or the deadline passed,
   * else what the SQLSTATE means
   */
  readonly run: <T>(statement: (sql: Sql) => PromiseLike<T>, deadlineMs?: number) => Promise<T>;
  /** Lets what is on its way finish; the next statement gets a new connection. */
  readonly renew: () => void;
  /** Lets what is on its way finish, for `withinMs` or two seconds, whichever is less; then it fails. Safe twice. */
  readonly end: (withinMs?: number) => Promise<void>;
}

/**
 * For a session whose statements must each see what was committed before it, whatever the database or the role prefers. Not
 * through a pooler.
 */
export const readCommitted = { default_transaction_isolation: "read committed" } as const;

/**
 * Else whoever may create a function in a schema on the path could have it called in place of one of PostgreSQL's that takes
 * anything. It cannot be set through a pooler: what may go through one names pg_catalog with each function.
 */
const searchPath = "pg_catalog, pg_temp";

const connectTimeoutSeconds = 5;
const endTimeoutMs = 2_000;

/** JSON as it is written: it is decoded by whoever wants to, and not while rows come in. */
const rawJson = { to: 114, from: [114], serialize: (text: string) => text, parse: (text: string) => text };

/** A time, read once where rows have the same. */
const moments = () => ({
  to: 1184,
  from: [1184],
  serialize: (date: Date) => date.toISOString(),
  parse: makeMomentReader(),
});

/** The driver's options, every one of them spelled out. Also for the listening connection. */
export const driverOptions = (target: PostgresTarget, options: ClientOptions) => {
  const ownConnection = options.ownConnection ?? true;
  const trusted = target.ca === null ? {} : { ca: target.ca };
  return {
    ...addressOf(target.url),
    max: 1,
    ssl: target.tls === "off" ? false : { rejectUnauthorized: target.tls === "verify", ...trusted },
    connect_timeout: connectTimeoutSeconds,
    idle_timeout: 0,
    // The driver would renew connections at random after half an hour; ours live until they fail.
    max_lifetime: null,
    keep_alive: 30,
    backoff: false,
    fetch_types: false,
    prepare: ownConnection,
    // PgBouncer takes the server away at the end of a transaction, with the answer to what was sent behind it. 100 is the driver's own.
    max_pipeline: ownConnection ? 100 : 0,
    onnotice: () => {},
    // Times are read as ISO has them, whatever the role or the database prefers. A pooler knows this one, and sets it before each
    // transaction until it is word for word what the server calls it.
    connection: {
      application_name: `pgstream ${options.name}`,
      DateStyle: "ISO, MDY",
      ...(ownConnection ? { search_path: searchPath, ...options.session } : {}),
    },
    types: { bigint: postgres.BigInt, json: rawJson, timestamptz: moments() },
  };
};

export const openClient = (target: PostgresTarget, options: ClientOptions): PostgresClient => {
  let current: Sql | null = null;
  let ending: Promise<void> | null = null;

  const connect = (): Sql => {
    if (ending !== null)
      throw new PgstreamError("database_unavailable", "the connection has been closed on our side");
    const sql = current ?? postgres(target.url, driverOptions(target, options));
    current = sql;
    return sql;
  };
  const discard = (sql: Sql): void => {
    if (current === sql) current = null;
    // Settles what still waits on it. Nobody waits for the end: it may never come on a half-open socket.
    sql.end({ timeout: 0 }).catch(() => {});
  };

  const run = async <T>(
    statement: (sql: Sql) => PromiseLike<T>,
    deadlineMs = options.deadlineMs,
  ): Promise<T> => {
    const sql = connect();
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(
        new PgstreamError("database_unavailable", `no answer from the database within ${deadlineMs} ms`, {
          retryable: true,
        }),
      );
    }, deadlineMs);
    try {
      return await Promise.race([statement(sql), late.promise]);
    } catch (error) {
      const broken = error instanceof PgstreamError ? error : connectionErrorOf(error);
      const failure = broken ?? databaseErrorOf(error);
      // The address of a standby may lead to the primary next time.
      if (broken !== null || failure.code === "standby") discard(sql);
      throw failure;
    } finally {
      clearTimeout(timer);
    }
  };
  const renew = (): void => {
    current?.end({ timeout: endTimeoutMs / 1_000 }).catch(() => {});
    current = null;
  };
  const end = async (withinMs = endTimeoutMs): Promise<void> => {
    ending ??= current?.end({ timeout: Math.min(withinMs, endTimeoutMs) / 1_000 }) ?? Promise.resolve();
    current = null;
    await ending;
  };
  options.signal?.addEventListener("abort", () => void end(), { once: true });
  // Whoever listens to a signal that has aborted hears nothing.
  if (options.signal?.aborted === true) void end();
  return { run, renew, end, [Symbol.asyncDispose]: async () => await end() };
};
