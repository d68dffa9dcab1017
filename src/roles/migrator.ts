//! Brings the database up to date, then ends. Waits for a server that is not there yet, or not ready, for as long as
//! the process is wanted.

import { openClient, readCommitted } from "../adapters/postgres/client.ts";
import { migrateDatabase, type MigrateOptions } from "../adapters/postgres/migrate/migrate.ts";
import type { Login } from "../adapters/postgres/migrate/provision-roles.ts";
import type { Config } from "../config/config.ts";
import { databaseFor } from "../config/database-target.ts";
import { PgstreamError } from "../core/errors.ts";
import { keepTrying } from "../core/keep-trying.ts";
import type { Role, RoleContext, RunningRole } from "./role.ts";

const statementTimeoutMs = 30_000;
// Nobody should wait long behind a migrator that waits.
const session = { ...readCommitted, lock_timeout: "5s" };
const backoff = { delayMsMin: 100, delayMsMax: 5_000 };
const logIntervalMs = 30_000;
const racesMax = 10;

const loginsOf = ({ migrator }: Config): readonly Login[] =>
  migrator.createLogins
    ? (["producer", "consumer", "purger"] as const).flatMap((name) => {
        const password = migrator[`${name}Password`];
        return password === null ? [] : [{ name, group: `pgstream_${name}` as const, password }];
      })
    : [];

/** PostgreSQL has no better name for two that change the same row of a catalog at once, as two clusters' roles. */
const isRace = (error: PgstreamError): boolean => error.details["sqlstate"] === "XX000";

/** Says now and then why it still waits. */
const makeShouldRetry = ({ clock, logger }: RoleContext, onWait: (reason: string) => void) => {
  let loggedAt = -Infinity;
  return (error: unknown, attempt: number): boolean => {
    const isHopeful =
      error instanceof PgstreamError && (error.retryable || (isRace(error) && attempt < racesMax));
    if (!isHopeful) return false;
    onWait(error.code);
    if (clock.now() - loggedAt >= logIntervalMs) {
      loggedAt = clock.now();
      logger.warn({ code: error.code, reason: error.message }, "the migrator waits and tries again");
    }
    return true;
  };
};

const start = (context: RoleContext): RunningRole => {
  const { config, logger, clock } = context;
  const stopping = new AbortController();
  const signal = AbortSignal.any([context.signal, stopping.signal]);
  const options: MigrateOptions = {
    ...config.migrator,
    unsafeDurability: config.database.unsafeDurability,
    logins: loginsOf(config),
    log: config.producer,
    logger,
    signal,
  };
  const target = databaseFor(config.database.targets, "migrator");
  let reason = "is migrating";
  const shouldRetry = makeShouldRetry(context, (code) => {
    reason = `waits: ${code}`;
  });

  const live = async (): Promise<void> => {
    await using client = openClient(target, { name: "migrator", deadlineMs: statementTimeoutMs, session });
    const work = async (): Promise<boolean> => {
      await migrateDatabase(client, options);
      return !signal.aborted;
    };
    const isDone = await keepTrying(work, { backoff, clock, random: Math.random, signal, shouldRetry });
    if (isDone === true) logger.info({}, "the database is up to date");
  };
  const done = live();
  const stop = async (): Promise<void> => {
    stopping.abort();
    await done.catch(() => undefined); // whoever waits for `done` is told
  };
  return { status: () => ({ ready: false, reason, details: {} }), done, stop };
};

export const migrator: Role = async (context) => await Promise.resolve(start(context));
