//! Appends one batch after the other, each until its fate is known.
//!
//! A batch whose outcome is unknown is repeated under the same number until the log answers, for as long as an outage
//! lasts: the log remembers each publisher's last batch and answers a repeat with the ids it got the first time. Where
//! the answer cannot be had, the caller is told so, and what follows goes out under a new publisher's name: under the old
//! one the log might take it for the repeat.

import { backoffMs, type Backoff } from "../backoff.ts";
import { hasCode, isRetryable, messageOf, PgstreamError } from "../errors.ts";
import type { EncodedEvent } from "../event.ts";
import type { Clock, Logger } from "../ports.ts";
import { makeUnlessAborted, type UnlessAborted } from "../unless-aborted.ts";

/** Mirrors the grant of pgstream_producer: EXECUTE on publish_batch. */
export interface EventAppender {
  /**
   * Appends the events in one statement and answers their ids in the same order. Repeated with the same publisher and
   * number it answers the same ids. Right behind the statement, in a transaction of its own, whoever listens is woken:
   * nobody waits for that, and a hint that is lost costs a poll interval and never an event.
   * @throws PgstreamError `publish_unknown` when the publisher is not remembered; `database_unavailable` (retryable)
   * when the outcome is unknown, which it is not where `details.sent` is false; else the event is refused and nothing was written
   */
  readonly append: (batch: AppendBatch) => Promise<readonly bigint[]>;
}

export interface AppendBatch {
  readonly publisher: string;
  /** 1, 2, 3, …: n + 1 is sent only when the fate of n is known. */
  readonly number: bigint;
  readonly events: readonly EncodedEvent[];
}

export interface SenderPorts {
  readonly appender: EventAppender;
  readonly clock: Clock;
  readonly random: () => number;
  readonly newId: () => string;
  readonly logger: Logger;
}

export interface Sender {
  /**
   * The ids of the events. One call at a time.
   * @throws PgstreamError `publish_unknown`, or why nothing was written
   */
  readonly append: (events: readonly EncodedEvent[]) => Promise<readonly bigint[]>;
  /** Why the batch at hand is being repeated, null when it is not. */
  readonly retrying: () => string | null;
}

const unknownOutcome = (cause: unknown): PgstreamError =>
  new PgstreamError(
    "publish_unknown",
    "it cannot be known whether these events were published; publish them again with the same idempotency keys",
    { cause },
  );

/**
 * Refusals of the events themselves. The log looks first whether it remembers the batch, so these are certain, unless what refuses
 * them is mended before an earlier attempt arrives.
 */
const refusals = [
  "invalid_event",
  "invalid_topic",
  "unknown_topic",
  "event_too_large",
  "idempotency_conflict",
] as const;

/** The log remembers a publisher that is silent for seven times as long. */
const idleMsMax = 86_400_000;

const mayHaveArrived = (error: unknown): boolean =>
  hasCode(error, "database_unavailable") && error.details["sent"] !== false;

/** It is not retryable, and means what it says only when nothing is in doubt. */
export const notPublished = (cause?: unknown): PgstreamError =>
  new PgstreamError("database_unavailable", "the publisher has been closed: nothing was published", {
    cause,
  });

class NumberingSender implements Sender {
  readonly #ports: SenderPorts;
  readonly #backoff: Backoff;
  readonly #stopped: AbortSignal;
  readonly #unlessStopped: UnlessAborted;
  #publisher: string;
  #number = 1n;
  #retrying: string | null = null;
  /** Whether the batch at hand may have been committed without our knowing. */
  #inDoubt = false;
  #answeredAt = 0;

  constructor(ports: SenderPorts, backoff: Backoff, stopped: AbortSignal) {
    this.#ports = ports;
    this.#backoff = backoff;
    this.#stopped = stopped;
    this.#unlessStopped = makeUnlessAborted(stopped, notPublished);
    this.#publisher = ports.newId();
  }

  retrying(): string | null {
    return this.#retrying;
  }

  async append(events: readonly EncodedEvent[]): Promise<readonly bigint[]> {
    // Before the log forgets it: a first attempt that got lost could not be told from one that was forgotten.
    if (this.#number > 1n && this.#ports.clock.now() - this.#answeredAt > idleMsMax) this.#renew();
    try {
      for (let attempt = 0; ; attempt += 1) {
        const ids = await this.#appendOnce(events, attempt);
        if (ids !== null) return ids;
      }
    } catch (error) {
      const wasInDoubt = this.#inDoubt;
      this.#inDoubt = false;
      // An attempt that is still on its way must not be taken for the next batch.
      if (wasInDoubt) this.#renew();
      throw wasInDoubt && !hasCode(error, ...refusals) ? unknownOutcome(error) : error;
    } finally {
      this.#retrying = null;
    }
  }

  #renew(): void {
    this.#publisher = this.#ports.newId();
    this.#number = 1n;
  }

  /** The ids, or null when the batch has to be repeated. */
  async #appendOnce(events: readonly EncodedEvent[], attempt: number): Promise<readonly bigint[] | null> {
    const { appender, clock, random, logger } = this.#ports;
    if (this.#stopped.aborted) throw notPublished();
    try {
      const batch = { publisher: this.#publisher, number: this.#number, events };
      const ids = await this.#unlessStopped(appender.append(batch));
      this.#number += 1n;
      this.#answeredAt = this.#ports.clock.now();
      this.#inDoubt = false;
      return ids;
    } catch (error) {
      if (mayHaveArrived(error)) this.#inDoubt = true;
      if (hasCode(error, "publish_unknown") && !this.#inDoubt && this.#number > 1n) {
        // Forgotten while idle, and nothing of ours is in doubt: go on under a new name.
        this.#renew();
        return null;
      }
      if (!isRetryable(error)) throw error;
      this.#retrying = messageOf(error);
      logger.warn(
        { attempt, error: this.#retrying, events: events.length },
        "publishing failed; repeating the batch",
      );
      await clock.sleep(backoffMs(attempt, this.#backoff, random), this.#stopped);
      if (this.#stopped.aborted) throw notPublished(error);
      return null;
    }
  }
}

export const makeSender = (ports: SenderPorts, backoff: Backoff, stopped: AbortSignal): Sender =>
  new NumberingSender(ports, backoff, stopped);
