//! Publishes: whatever is called while a batch is on its way goes out together in the next one, without any timer.
//!
//! Batches go one after the other, so the order of calls is the order of ids, and each is repeated until its fate is
//! known: see append-until-known.ts.

import type { Announcer } from "./announcer.ts";
import { type EventAppender, makeSender, notPublished, type Sender } from "./append-until-known.ts";
import type { Backoff } from "./backoff.ts";
import { hasCode, PgstreamError } from "./errors.ts";
import { encodeEvent, type EncodedEvent, type EventDraft } from "./event.ts";
import type { Clock, Logger } from "./ports.ts";
import { makeSpace, type Space } from "./space.ts";

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
  readonly #sender: Sender;
  readonly #stopped = new AbortController();
  /** Calls not answered yet, those that wait for room included. */
  readonly #calls = new Set<Promise<unknown>>();
  readonly #queue: Call[] = [];
  #isSending = false;
  #closed = false;
  #published = 0;

  constructor(ports: PublisherPorts, options: PublisherOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#sender = makeSender(ports, options.backoff, this.#stopped.signal);
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
    return { waiting: this.#space.taken(), retrying: this.#sender.retrying(), published: this.#published };
  }

  async close(timeoutMs: number): Promise<void> {
    this.#closed = true;
    const late = new AbortController();
    const inTime = this.#ports.clock.sleep(timeoutMs, late.signal);
    await Promise.race([this.#settled(), inTime]);
    this.#stopped.abort();
    // Whatever still waits is answered at once now; only a hint may be on its way.
    await this.#settled();
    await Promise.race([this.#ports.announcer.settled(), inTime]);
    late.abort();
  }

  async #settled(): Promise<void> {
    await Promise.allSettled(this.#calls);
  }

  async #enqueue(drafts: readonly EventDraft[]): Promise<readonly bigint[]> {
    const events = drafts.map((draft) => encodeEvent(draft, this.#options.eventBytesMax));
    if (this.#closed) throw notPublished();
    const call = this.#wait(events);
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
    }
  }

  /** Waits for room, then for the answer. */
  async #wait(events: readonly EncodedEvent[]): Promise<readonly bigint[]> {
    const bytes = events.reduce((sum, event) => sum + event.bytes, 0);
    await this.#space.take(events.length, bytes);
    try {
      if (this.#stopped.signal.aborted) throw notPublished();
      const { promise, resolve, reject } = Promise.withResolvers<readonly bigint[]>();
      this.#queue.push({ events, bytes, resolve, reject });
      if (!this.#isSending) void this.#sendAll();
      return await promise;
    } finally {
      this.#space.give(events.length, bytes);
    }
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    // Calls made in the same turn of the event loop go together, the first included.
    await Promise.resolve();
    while (this.#queue.length > 0) await this.#send(this.#nextBatch());
    this.#isSending = false;
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
      this.#answer(calls, await this.#sender.append(events));
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
}

export const makePublisher = (ports: PublisherPorts, options: PublisherOptions): Publisher =>
  new BatchingPublisher(ports, options);
