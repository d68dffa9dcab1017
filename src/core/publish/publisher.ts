//! Publishes: whatever is called while all lanes are out goes out together in the next batch, without any timer.
//!
//! A lane sends one batch after the other, each until its fate is known: see append-until-known.ts. What must keep its
//! order never is on two lanes at once: see publish-queue.ts.

import type { Backoff } from "../backoff.ts";
import type { EventDraft } from "../event.ts";
import type { Announcer } from "./announcer.ts";
import {
  type EventAppender,
  makeSender,
  notPublished,
  type Sender,
  type SenderPorts,
} from "./append-until-known.ts";
import { type CallLimits, encodeCall } from "./encode-call.ts";
import { makePublishQueue, type PublishQueue, type WaitingCall } from "./publish-queue.ts";
import { sendInHalves } from "./send-in-halves.ts";
import { makeSpace, type Space } from "./space.ts";

export interface PublisherOptions extends CallLimits {
  readonly batchEventsMax: number;
  readonly batchBytesMax: number;
  /** What may wait, over all calls; more makes `publish` wait until there is room. */
  readonly bufferEventsMax: number;
  readonly bufferBytesMax: number;
  /** A lane goes out beside another one only for so many events: fewer wait for that one to come back. */
  readonly furtherLaneEventsMin: number;
  readonly backoff: Backoff;
}

export interface PublisherPorts extends Omit<SenderPorts, "appender"> {
  /** One a lane: what is given to one of them never waits for another. */
  readonly appenders: readonly EventAppender[];
  readonly announcer: Announcer;
}

export interface PublisherStatus {
  /** Events accepted and not yet answered. */
  readonly waiting: number;
  /** Why a batch is being repeated, null when none is. */
  readonly retrying: string | null;
  readonly published: number;
}

export interface Publisher {
  /**
   * Publishes one event, or several that become visible together or not at all, and resolves with their ids when they
   * are committed on the primary. Waits for room when the buffer is full, and for the database as long as it takes.
   *
   * Events of one topic with the same key, or without one, get their ids and become visible in the order of the calls,
   * awaited or not. With one connection all events do.
   * @throws PgstreamError `invalid_event`, `invalid_topic`, `event_too_large`, `idempotency_conflict`,
   * `unknown_topic` for what the caller gave; `publish_unknown` when it cannot be known whether it was committed
   */
  publish(event: EventDraft): Promise<bigint>;
  publish(events: readonly EventDraft[]): Promise<readonly bigint[]>;
  readonly status: () => PublisherStatus;
  /** Takes no more calls, and resolves when those accepted are answered, at the latest after `timeoutMs`. */
  readonly close: (timeoutMs: number) => Promise<void>;
}

interface Call extends WaitingCall {
  /** Takes its own ids, which begin at `from`. */
  readonly resolve: (ids: readonly bigint[], from: number) => void;
  readonly reject: (error: unknown) => void;
}

interface Lane {
  readonly number: number;
  readonly sender: Sender;
  isOut: boolean;
  /** By the clock. */
  outSince: number;
}

/** A batch that is out for longer waits for something, for somebody's lock say: what has nothing to do with it goes past. */
const lateMs = 100;

const isList = Array.isArray as (value: unknown) => value is readonly EventDraft[];

class BatchingPublisher implements Publisher {
  readonly #ports: PublisherPorts;
  readonly #options: PublisherOptions;
  readonly #space: Space;
  readonly #lanes: readonly Lane[];
  readonly #queue: PublishQueue<Call>;
  readonly #stopped = new AbortController();
  /** Calls not answered yet, those that wait for room included. */
  #unanswered = 0;
  #whenIdle: (() => void)[] = [];
  #isAboutToSend = false;
  #isLookingAgain = false;
  #closed = false;
  #published = 0;

  constructor(ports: PublisherPorts, options: PublisherOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#lanes = ports.appenders.map((appender, number) => ({
      number,
      sender: makeSender({ ...ports, appender }, options.backoff, this.#stopped.signal),
      isOut: false,
      outSince: 0,
    }));
    this.#queue = makePublishQueue({ ...options, lanes: ports.appenders.length });
    this.#space = makeSpace(options.bufferEventsMax, options.bufferBytesMax);
  }

  publish(event: EventDraft): Promise<bigint>;
  publish(events: readonly EventDraft[]): Promise<readonly bigint[]>;
  // Not async: each promise on the way costs as much as all the rest of it.
  publish(drafts: EventDraft | readonly EventDraft[]): Promise<bigint | readonly bigint[]> {
    return new Promise((resolve, reject) => {
      const { events, bytes } = encodeCall(isList(drafts) ? drafts : [drafts], this.#options);
      if (this.#closed) throw notPublished();
      if (events.length === 0) {
        resolve([]);
        return;
      }
      this.#accept({
        events,
        bytes,
        reject,
        resolve: isList(drafts)
          ? (ids, from) => resolve(ids.slice(from, from + events.length))
          : (ids, from) => resolve(ids[from] as bigint),
      });
    });
  }

  status(): PublisherStatus {
    const retrying = this.#lanes.map(({ sender }) => sender.retrying()).find((it) => it !== null) ?? null;
    return { waiting: this.#space.taken(), retrying, published: this.#published };
  }

  async close(timeoutMs: number): Promise<void> {
    this.#closed = true;
    const late = new AbortController();
    const inTime = this.#ports.clock.sleep(timeoutMs, late.signal);
    await Promise.race([this.#idle(), inTime]);
    this.#stopped.abort();
    // Whatever still waits is answered at once now; only a tick may be on its way.
    await this.#idle();
    await Promise.race([this.#ports.announcer.settled(), inTime]);
    late.abort();
  }

  async #idle(): Promise<void> {
    if (this.#unanswered === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#whenIdle.push(resolve);
    await promise;
  }

  /** Lets the call wait for room, then for a lane. */
  #accept(call: Call): void {
    this.#unanswered += 1;
    this.#space.take(call.events.length, call.bytes, () => {
      this.#queue.push(call);
      if (this.#lanes.some((lane) => !lane.isOut)) this.#sendSoon();
    });
  }

  /** Calls made in the same turn of the event loop go together, the first included. */
  #sendSoon(): void {
    if (this.#isAboutToSend) return;
    this.#isAboutToSend = true;
    queueMicrotask(() => {
      this.#isAboutToSend = false;
      this.#sendAll();
    });
  }

  #sendAll(): void {
    const lateSince = this.#ports.clock.now() - lateMs;
    const isLate = this.#lanes.every(({ isOut, outSince }) => !isOut || outSince <= lateSince);
    for (const lane of this.#lanes) {
      if (lane.isOut) continue;
      const calls = this.#queue.take(lane.number, isLate);
      if (calls.length > 0) void this.#goOut(lane, calls);
    }
    if (!this.#queue.isEmpty() && this.#lanes.some(({ isOut }) => !isOut)) void this.#lookAgain();
  }

  async #lookAgain(): Promise<void> {
    if (this.#isLookingAgain) return;
    this.#isLookingAgain = true;
    await this.#ports.clock.sleep(lateMs, this.#stopped.signal);
    this.#isLookingAgain = false;
    this.#sendAll();
  }

  async #goOut(lane: Lane, calls: readonly Call[]): Promise<void> {
    lane.isOut = true;
    lane.outSince = this.#ports.clock.now();
    await sendInHalves(calls, {
      sender: lane.sender,
      published: (some, ids) => this.#resolve(some, ids),
      failed: (some, error) => this.#reject(some, error),
    });
    lane.isOut = false;
    this.#queue.release(lane.number);
    this.#sendSoon();
  }

  #resolve(calls: readonly Call[], ids: readonly bigint[]): void {
    this.#published += ids.length;
    this.#answered(calls);
    let from = 0;
    for (const call of calls) {
      call.resolve(ids, from);
      from += call.events.length;
    }
    this.#ports.announcer.announce(ids.at(-1) ?? 0n);
  }

  #reject(calls: readonly Call[], error: unknown): void {
    this.#answered(calls);
    for (const call of calls) call.reject(error);
  }

  #answered(calls: readonly Call[]): void {
    let events = 0;
    let bytes = 0;
    for (const call of calls) {
      events += call.events.length;
      bytes += call.bytes;
    }
    this.#unanswered -= calls.length;
    this.#space.give(events, bytes);
    if (this.#unanswered > 0) return;
    for (const resolve of this.#whenIdle) resolve();
    this.#whenIdle = [];
  }
}

export const makePublisher = (ports: PublisherPorts, options: PublisherOptions): Publisher =>
  new BatchingPublisher(ports, options);
