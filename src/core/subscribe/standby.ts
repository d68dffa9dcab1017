//! One process at a time: holds the lease of a subscription while it runs, and stands by while somebody else does.
//!
//! The lease is a fencing token in the store. Whoever is paused past its end and wakes up late commits nothing: the
//! store refuses a token that is not the newest.

import { hasCode, isRetryable, messageOf } from "../errors.ts";
import type { Clock, Logger } from "../ports.ts";
import type { ConsumerStore, Lease } from "./store.ts";

export interface StandbyOptions {
  readonly subscription: string;
  readonly ttlMs: number;
}

export interface StandbyPorts {
  readonly store: Pick<ConsumerStore, "prepare" | "acquire" | "release">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told whenever this process comes to stand by or to hold the lease, or cannot reach the store. */
  readonly onState: (state: "standby" | "holder" | "unreachable") => void;
}

/** A lease runs from when it was asked for: an answer may take its time. */
interface Term {
  readonly ttlMs: number;
  readonly askedAt: number;
}

/** Resolves when the lease is lost or the signal aborts: when the work has ended, not when it is asked to. */
const keepLease = async (
  lease: Lease,
  { store, clock, logger }: StandbyPorts,
  { ttlMs, askedAt }: Term,
  signal: AbortSignal,
): Promise<void> => {
  let until = askedAt + ttlMs;
  let isFailing = false;
  const prolong = async (): Promise<boolean> => {
    const from = clock.now();
    try {
      if ((await store.acquire(lease.subscription, lease, ttlMs)) === null) return false;
      until = from + ttlMs;
      isFailing = false;
    } catch (error) {
      isFailing = true;
      logger.warn({ error: messageOf(error) }, "the lease could not be prolonged; trying again");
    }
    return true;
  };
  while (!signal.aborted && clock.now() < until) {
    await clock.sleep(Math.min(isFailing ? ttlMs / 10 : ttlMs / 3, until - clock.now()), signal);
    const leftMs = until - clock.now();
    if (signal.aborted || (leftMs <= 0 && isFailing)) return;
    // A store that does not answer keeps nobody at work for longer than the lease lasts. Who was paused past its end may
    // still be the last who held it.
    const answered = new AbortController();
    const runOut = clock.sleep(leftMs > 0 ? leftMs : ttlMs / 10, answered.signal).then(() => false);
    const isHeld = await Promise.race([prolong(), runOut]);
    answered.abort();
    if (!isHeld) return;
  }
};

/** What is done while the lease is held. */
export type Held = (lease: Lease, signal: AbortSignal) => Promise<void>;

const runHolding = async (
  lease: Lease,
  run: Held,
  ports: StandbyPorts,
  holder: Term & { readonly signal: AbortSignal },
): Promise<void> => {
  const ended = new AbortController();
  const holding = AbortSignal.any([holder.signal, ended.signal]);
  const kept = keepLease(lease, ports, holder, ended.signal).finally(() => ended.abort());
  try {
    await run(lease, holding);
  } catch (error) {
    if (!hasCode(error, "lease_lost")) throw error;
    ports.logger.warn({ token: String(lease.token) }, "another process took the lease; standing by");
  } finally {
    ended.abort();
    await kept;
    await ports.store.release(lease).catch((error: unknown) => {
      ports.logger.debug({ error: messageOf(error) }, "the lease was not given back; it runs out by itself");
    });
  }
};

/**
 * Runs `run` whenever this process holds the lease, until the signal aborts. `run` has to end soon after its own
 * signal aborts.
 * @throws whatever `run` throws, except `lease_lost`
 */
export const runWithLease = async (
  run: Held,
  ports: StandbyPorts,
  options: StandbyOptions,
  signal: AbortSignal,
): Promise<void> => {
  const { store, clock, logger, onState } = ports;
  let isPrepared = false;
  while (!signal.aborted) {
    let lease: Lease | null = null;
    let askedAt = clock.now();
    try {
      if (!isPrepared) await store.prepare();
      isPrepared = true;
      askedAt = clock.now();
      lease = await store.acquire(options.subscription, null, options.ttlMs);
      if (lease === null) onState("standby");
    } catch (error) {
      if (!isRetryable(error)) throw error;
      onState("unreachable");
      logger.warn({ error: messageOf(error) }, "the store is not reachable; trying again");
    }
    if (lease === null) {
      await clock.sleep(options.ttlMs / 5, signal);
      continue;
    }
    onState("holder");
    logger.info({ subscription: options.subscription, token: String(lease.token) }, "holding the lease");
    await runHolding(lease, run, ports, { ttlMs: options.ttlMs, askedAt, signal });
  }
};
