//! Wake-ups by LISTEN, checked by a ping to ourselves: calls back at every hint.
//!
//! LISTEN goes deaf without an error in four ways: a half-open connection, a reconnect that lands on a standby, a
//! pooler in transaction mode, a notification sent while nobody listened. A ping with a nonce, sent on another
//! connection and heard on this one, detects all four; until it does, polling covers.

import postgres from "postgres";

import { backoffMs } from "../../core/backoff.ts";
import { messageOf } from "../../core/errors.ts";
import type { Clock, Logger } from "../../core/ports.ts";
import { driverOptions, type PostgresClient, type PostgresTarget } from "./client.ts";
import { channel } from "./publish/hints.ts";

export interface WakeupPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  /** Sends the pings; any connection but the listening one. */
  readonly pinger: PostgresClient;
}

export interface WakeupOptions {
  readonly name: string;
  readonly pingIntervalMs: number;
  /** A ping not heard within it means that we are deaf. */
  readonly pingDeadlineMs: number;
}

const redialPauseSeconds = 1;

interface Listener {
  readonly target: PostgresTarget;
  /** Called at every hint, and whenever some may have been missed. */
  readonly onHint: () => void;
  readonly ports: WakeupPorts;
  readonly options: WakeupOptions;
}

/** Listens until it is deaf or the signal aborts. */
const listenOnce = async (
  { target, onHint, ports, options }: Listener,
  signal: AbortSignal,
): Promise<void> => {
  const pingChannel = `pgstream_ping_${crypto.randomUUID().replaceAll("-", "")}`;
  const sql = postgres(target.url, {
    ...driverOptions(target, { name: `${options.name} listener`, deadlineMs: options.pingDeadlineMs }),
    // The driver listens anew by itself, and would dial without a pause while the server is away.
    backoff: () => redialPauseSeconds,
  });
  let heard = Promise.withResolvers<void>();
  let nonce = "";
  const deadline = async (what: Promise<unknown>): Promise<boolean> => {
    const done = new AbortController();
    const late = ports.clock
      .sleep(options.pingDeadlineMs, AbortSignal.any([signal, done.signal]))
      .then(() => false);
    const result = await Promise.race([what.then(() => true), late]);
    done.abort();
    return result;
  };
  try {
    // Every (re)connect is a hint: what was sent meanwhile is lost.
    const listening = Promise.all([
      sql.listen(channel, onHint, onHint),
      sql.listen(pingChannel, (payload) => {
        if (payload === nonce) heard.resolve();
      }),
    ]);
    if (!(await deadline(listening))) return;
    while (!signal.aborted) {
      heard = Promise.withResolvers<void>();
      nonce = crypto.randomUUID();
      await ports.pinger.run((it) => it`select pg_catalog.pg_notify(${pingChannel}, ${nonce})`);
      if (!(await deadline(heard.promise))) {
        if (!signal.aborted) ports.logger.warn({}, "the listening connection is deaf; connecting anew");
        return;
      }
      await ports.clock.sleep(options.pingIntervalMs, signal);
    }
  } finally {
    sql.end({ timeout: 0 }).catch(() => {});
  }
};

/** Keeps listening for as long as the signal allows. Resolves when it aborts; never rejects. */
export const keepListening = async (listener: Listener, signal: AbortSignal): Promise<void> => {
  const { clock, logger, random } = listener.ports;
  const backoff = { delayMsMin: 200, delayMsMax: 10_000 };
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const startedAt = clock.now();
    try {
      await listenOnce(listener, signal);
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "listening failed; polling meanwhile");
    }
    if (clock.now() - startedAt > backoff.delayMsMax) attempt = 0;
    await clock.sleep(backoffMs(attempt, backoff, random), signal);
  }
};
