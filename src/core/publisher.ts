//! Publishes: whatever is called while a batch is on its way goes out together in the next one, without any timer.
//!
//! Batches go one after the other, so the order of calls is the order of ids. A batch whose outcome is unknown is
//! repeated under the same number until the log answers, for as long as an outage lasts: the log remembers each
//! publisher's last batch and answers a repeat with the ids it got the first time.

import type { Announcer } from "./announcer.ts";
import { backoffMs, type Backoff } from "./backoff.ts";
import { hasCode, isRetryable, messageOf, PgstreamError } from "./errors.ts";
import { encodeEvent, type EncodedEvent, type EventDraft } from "./event.ts";
import type { Clock, Logger } from "./ports.ts";
import { makeSpace, type Space } from "./space.ts";

/** Mirrors the grant of pgstream_producer: EXECUTE on publish_batch. */
export interface EventAppender {
  /**
   * Appends the events in one statement and answers their ids in the same order. Repeated with the same publisher and
   * number it answers the same ids.
   * @throws PgstreamError `publish_unknown` when the publisher is not remembered; `database_unavailable` (retryable)
   * when the outcome is unknown; else the event is refused and nothing was written
   */
  readonly append: (batch: AppendBatch) => Promise<readonly bigint[]>;
}

export interface AppendBatch {
  readonly publisher: string;
  /** 1, 2, 3, …: n + 1 is sent only when the fate of n is known. */
  readonly number: bigint;
  readonly events: readonly EncodedEvent[];
}

export interface PublisherOptions {
  readonly batchEventsMax: number;
  readonly batchBytesMax: number;
  /** What may wait, over all calls; more makes `publish` wait until there is room. */
  readonly bufferEventsMax: number;
  readonly bufferBytesMax: number;
  readonly eventBytesMax: number;
  readonly backoff: Backoff;
}

export interface PublisherPorts {
  readonly appender: EventAppender;
  readonly announcer: Announcer;
  readonly clock: Clock;
  readonly random: () => number;
  readonly newId: () => string;
  readonly logger: Logger;
}

export interface PublisherStatus {
  /** Events accepted and not yet answered. */
  readonly waiting: number;
  /** Why the batch at hand is being repeated, null when it is not. */
  readonly retrying: string | null;
  readonly published: number;
}

export interface Publisher {
  /**
   * Publishes one event, or several that become visible together or not at all, and resolves with their ids when they
   * are committed on the primary. Waits for room when the buffer is full, and for the database as long as it takes.
   * @throws PgstreamError `invalid_event`, `invalid_topic`, `event_too_large`, `idempotency_conflict`,
   * `unknown_topic` for what the caller gave; `publish_unknown` when it cannot be known whether it was committed
   */
  publish(event: EventDraft): Promise<bigint>;
  publish(events: readonly EventDraft[]): Promise<readonly bigint[]>;
  readonly status: () => PublisherStatus;
  /** Takes no more calls, and resolves when those accepted are answered, at the latest after `timeoutMs`. */
  readonly close: (timeoutMs: number) => Promise<void>;
}

/** The events of one call. They stay together. */
interface Call {
  readonly events: readonly EncodedEvent[];
  readonly bytes: number;
  readonly resolve: (ids: readonly bigint[]) => void;
  readonly reject: (error: unknown) => void;
}

const eventsOf = (calls: readonly Call[]): readonly EncodedEvent[] => calls.flatMap((call) => call.events);

class BatchingPublisher implements Publisher {
  readonly #ports: PublisherPorts;
  readonly #options: PublisherOptions;
  readonly #space: Space;
  readonly #stopped = new AbortController();
  readonly #queue: Call[] = [];
  #publisher: string;
  #number = 1n;
  #sending: Promise<void> | null = null;
  #closed = false;
  #retrying: string | null = null;
  #published = 0;

  constructor(ports: PublisherPorts, options: PublisherOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#publisher = ports.newId();
    this.#space = makeSpace(options.bufferEventsMax, options.bufferBytesMax);
  }

  publish(event: EventDraft): Promise<bigint>;
  publish(events: readonly EventDraft[]): Promise<readonly bigint[]>;
  async publish(drafts: EventDraft | readonly EventDraft[]): Promise<bigint | readonly bigint[]> {
    const isList = Array.isArray as (value: unknown) => value is readonly EventDraft[];
    if (isList(drafts)) return drafts.length === 0 ? [] : await this.#enqueue(drafts);
    const [id] = await this.#enqueue([drafts]);
    if (id === undefined) throw new PgstreamError("internal", "the log answered no id");
    return id;
  }

  status(): PublisherStatus {
    return { waiting: this.#space.taken(), retrying: this.#retrying, published: this.#published };
  }

  async close(timeoutMs: number): Promise<void> {
    this.#closed = true;
    const late = new AbortController();
    await Promise.race([this.#sending, this.#ports.clock.sleep(timeoutMs, late.signal)]);
    late.abort();
    this.#stopped.abort();
    await this.#sending;
    await this.#ports.announcer.settled();
  }

  async #enqueue(drafts: readonly EventDraft[]): Promise<readonly bigint[]> {
    const events = drafts.map((draft) => encodeEvent(draft, this.#options.eventBytesMax));
    const bytes = events.reduce((sum, event) => sum + event.bytes, 0);
    await this.#space.take(events.length, bytes);
    try {
      if (this.#closed)
        throw new PgstreamError(
          "database_unavailable",
          "the publisher has been closed: nothing was published",
        );
      const { promise, resolve, reject } = Promise.withResolvers<readonly bigint[]>();
      this.#queue.push({ events, bytes, resolve, reject });
      this.#sending ??= this.#sendAll();
      return await promise;
    } finally {
      this.#space.give(events.length, bytes);
    }
  }

  async #sendAll(): Promise<void> {
    // Calls made in the same turn of the event loop go together, the first included.
    await Promise.resolve();
    while (this.#queue.length > 0) await this.#send(this.#nextBatch());
    this.#sending = null;
  }

  #nextBatch(): readonly Call[] {
    const { batchEventsMax, batchBytesMax } = this.#options;
    let events = 0;
    let bytes = 0;
    let count = 0;
    for (const call of this.#queue) {
      events += call.events.length;
      bytes += call.bytes;
      // One call is never split, however large.
      if (count > 0 && (events > batchEventsMax || bytes > batchBytesMax)) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  /** Sends the calls as one batch. When one of them spoils it, in halves, until it fails alone. */
  async #send(calls: readonly Call[]): Promise<void> {
    try {
      const events = eventsOf(calls);
      this.#answer(calls, await this.#appendUntilKnown(events));
    } catch (error) {
      if (calls.length === 1 || hasCode(error, "publish_unknown", "database_unavailable")) {
        for (const call of calls) call.reject(error);
        return;
      }
      const half = Math.ceil(calls.length / 2);
      await this.#send(calls.slice(0, half));
      await this.#send(calls.slice(half));
    }
  }

  #answer(calls: readonly Call[], ids: readonly bigint[]): void {
    let at = 0;
    for (const call of calls) {
      call.resolve(ids.slice(at, at + call.events.length));
      at += call.events.length;
    }
    this.#published += ids.length;
    this.#ports.announcer.announce(new Set(eventsOf(calls).map((event) => event.topic)), ids.at(-1) ?? 0n);
  }

  /** Repeats the batch under its number until the log answers for certain, or the publisher is closed. */
  async #appendUntilKnown(events: readonly EncodedEvent[]): Promise<readonly bigint[]> {
    try {
      for (let attempt = 0; ; attempt += 1) {
        const ids = await this.#appendOnce(events, attempt);
        if (ids !== null) return ids;
      }
    } finally {
      this.#retrying = null;
    }
  }

  /** The ids, or null when the batch has to be repeated. */
  async #appendOnce(events: readonly EncodedEvent[], attempt: number): Promise<readonly bigint[] | null> {
    const { appender, clock, random, logger, newId } = this.#ports;
    try {
      const ids = await appender.append({ publisher: this.#publisher, number: this.#number, events });
      this.#number += 1n;
      return ids;
    } catch (error) {
      if (hasCode(error, "publish_unknown") && this.#retrying === null) {
        // Forgotten while idle, and nothing of ours is in doubt: go on under a new name.
        this.#publisher = newId();
        this.#number = 1n;
        return null;
      }
      if (!isRetryable(error)) throw error;
      this.#retrying = messageOf(error);
      logger.warn(
        { attempt, error: this.#retrying, events: events.length },
        "publishing failed; repeating the batch",
      );
      await clock.sleep(backoffMs(attempt, this.#options.backoff, random), this.#stopped.signal);
      if (this.#stopped.signal.aborted) throw unknownOutcome(error);
      return null;
    }
  }
}

const unknownOutcome = (cause: unknown): PgstreamError =>
  new PgstreamError(
    "publish_unknown",
    "closed before the database answered: it cannot be known whether these events were published; publish them again with the same idempotency keys",
    { cause },
  );

export const makePublisher = (ports: PublisherPorts, options: PublisherOptions): Publisher =>
  new BatchingPublisher(ports, options);
