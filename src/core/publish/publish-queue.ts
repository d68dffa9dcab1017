//! What waits to be published, and which of it may go out on which lane.
//!
//! Lanes send at the same time, so what must keep its order never is on two of them: calls that have an order key in common
//! go out in the order in which they were made, the later one once the earlier one has been answered, or together with it.
//! A call that cannot go yet holds up whatever has a key in common with it, so none waits for ever. Keys are only looked
//! at when a second lane wants work while another is out: one lane alone costs nothing.

import type { EncodedEvent } from "../event.ts";

/** The events of one call. They stay together. */
export interface WaitingCall {
  readonly events: readonly EncodedEvent[];
  readonly bytes: number;
}

export interface QueueLimits {
  readonly lanes: number;
  /** Of one batch; a call that is larger goes alone. */
  readonly batchEventsMax: number;
  readonly batchBytesMax: number;
  /**
   * The least for which a lane goes out while another is out; and never for less than half of what that one carries.
   * Fewer wait for it to come back: small batches cost the most.
   */
  readonly furtherLaneEventsMin: number;
}

export interface PublishQueue<Call extends WaitingCall> {
  readonly push: (call: Call) => void;
  /**
   * What the lane is to send now, in order: empty when nothing may go. The lane holds its keys until it is released.
   * @param isLate whether those that are out have been so for long: then no little is too little, and none too far behind
   */
  readonly take: (lane: number, isLate?: boolean) => readonly Call[];
  /** All calls of the lane's batch have been answered. */
  readonly release: (lane: number) => void;
  readonly isEmpty: () => boolean;
}

/**
 * How many calls that cannot go yet are passed over in search of some that can. As many as wait, once those that are out are
 * late: each is set aside then, and not looked at again until one of them has come back.
 */
const lookAheadCalls = 1_000;

/** Events without a key count as having one, the same for the whole topic. Topics and keys hold no control characters. */
const orderKeyOf = ({ topic, key }: EncodedEvent): string => (key === null ? topic : `${topic}\n${key}`);

/** A queue from whose front calls are taken, some of them left behind. */
class Line<Call> {
  #calls: Call[] = [];
  #first = 0;

  get length(): number {
    return this.#calls.length - this.#first;
  }

  push(call: Call): void {
    this.#calls.push(call);
  }

  at(index: number): Call | undefined {
    return this.#calls[this.#first + index];
  }

  /** Takes the first `count` away, and puts `left` back in front of the rest. */
  replaceFirst(count: number, left: readonly Call[]): void {
    this.#first += count - left.length;
    for (const [index, call] of left.entries()) this.#calls[this.#first + index] = call;
    if (this.#first * 2 < this.#calls.length) return;
    this.#calls = this.#calls.slice(this.#first);
    this.#first = 0;
  }

  putInFront(calls: readonly Call[]): void {
    this.#calls = calls.concat(this.#calls.slice(this.#first));
    this.#first = 0;
  }
}

interface Choice<Call> {
  readonly taken: readonly Call[];
  /** What was passed over on the way. */
  readonly left: readonly Call[];
  readonly events: number;
}

interface Batch<Call> {
  readonly calls: readonly Call[];
  readonly events: number;
  /** Their order keys, once somebody asked. */
  keys: ReadonlySet<string> | null;
}

/** Calls that wait for lanes that are late, all of them earlier than what stands in the line. */
interface Aside<Call> {
  readonly calls: Call[];
  readonly keys: Set<string>;
  /** The lanes that they may be waiting for. */
  readonly behind: Set<number>;
}

const nothingAside = <Call>(): Aside<Call> => ({ calls: [], keys: new Set(), behind: new Set() });

const countEvents = (calls: readonly WaitingCall[]): number =>
  calls.reduce((sum, { events }) => sum + events.length, 0);

class KeyedQueue<Call extends WaitingCall> implements PublishQueue<Call> {
  readonly #limits: QueueLimits;
  readonly #line = new Line<Call>();
  #aside = nothingAside<Call>();
  /** What is out, by lane. */
  readonly #out: (Batch<Call> | null)[];
  /** Those of the line. */
  #events = 0;
  /** How many events must wait before a further lane looks again. */
  #lookAgainAt = 0;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
    this.#out = Array.from({ length: limits.lanes }, () => null);
  }

  isEmpty(): boolean {
    return this.#line.length === 0 && this.#aside.calls.length === 0;
  }

  push(call: Call): void {
    this.#line.push(call);
    this.#events += call.events.length;
  }

  take(lane: number, isLate = false): readonly Call[] {
    const isAlone = this.#out.every((it) => it === null);
    const eventsMin = isAlone || isLate ? 1 : this.#worth();
    if (this.#events < Math.max(eventsMin, isLate ? 0 : this.#lookAgainAt)) return [];
    const choice = this.#choose(isAlone ? null : this.#heldByOthers(lane), isLate);
    if (!isLate && choice.events < eventsMin) {
      // Not looked at again for every call that comes: a crowd with one key would be passed over each time.
      this.#lookAgainAt = this.#events + eventsMin;
      return [];
    }
    this.#line.replaceFirst(choice.taken.length + choice.left.length, isLate ? [] : choice.left);
    this.#events -= choice.events;
    if (isLate) this.#setAside(choice.left);
    const { taken: calls, events } = choice;
    if (calls.length > 0) this.#out[lane] = { calls, events, keys: null };
    return calls;
  }

  release(lane: number): void {
    this.#out[lane] = null;
    this.#lookAgainAt = 0;
    if (this.#aside.behind.has(lane)) this.#putBack();
  }

  #setAside(calls: readonly Call[]): void {
    if (calls.length === 0) return;
    for (const call of calls) this.#aside.calls.push(call);
    for (const [lane, batch] of this.#out.entries()) if (batch !== null) this.#aside.behind.add(lane);
    this.#events -= countEvents(calls);
    this.#lookAgainAt = 0;
  }

  #putBack(): void {
    const { calls } = this.#aside;
    this.#line.putInFront(calls);
    this.#events += countEvents(calls);
    this.#aside = nothingAside();
  }

  /** Little beside much is not worth a statement of its own: it goes together with what comes back next. */
  #worth(): number {
    const largest = Math.max(...this.#out.map((it) => it?.events ?? 0));
    return Math.max(this.#limits.furtherLaneEventsMin, Math.ceil(largest / 2));
  }

  /** @param held what the others hold, null when there is nobody else */
  #choose(held: readonly ReadonlySet<string>[] | null, isLate: boolean): Choice<Call> {
    const { batchBytesMax } = this.#limits;
    const eventsMax = this.#share();
    const leftMax = isLate ? this.#line.length : lookAheadCalls;
    const taken: Call[] = [];
    const left: Call[] = [];
    const leftKeys = isLate ? this.#aside.keys : new Set<string>();
    let events = 0;
    let bytes = 0;
    for (let index = 0; left.length < leftMax; index += 1) {
      const call = this.#line.at(index);
      if (call === undefined) break;
      if (held !== null && this.#mustStay(call, held, leftKeys)) {
        left.push(call);
        continue;
      }
      const fits = events + call.events.length <= eventsMax && bytes + call.bytes <= batchBytesMax;
      // One call is never split, however large.
      if (taken.length > 0 && !fits) break;
      taken.push(call);
      events += call.events.length;
      bytes += call.bytes;
    }
    return { taken, left, events };
  }

  /** The lanes that are free share what waits, if each share is worth a lane. */
  #share(): number {
    const { batchEventsMax, furtherLaneEventsMin } = this.#limits;
    const free = this.#out.filter((it) => it === null).length;
    const share = this.#events / free;
    return share < furtherLaneEventsMin ? batchEventsMax : Math.min(Math.ceil(share), batchEventsMax);
  }

  #mustStay(call: Call, held: readonly ReadonlySet<string>[], leftKeys: Set<string>): boolean {
    const isBusy = (event: EncodedEvent): boolean => {
      const key = orderKeyOf(event);
      return leftKeys.has(key) || held.some((keys) => keys.has(key));
    };
    if (!call.events.some(isBusy)) return false;
    for (const event of call.events) leftKeys.add(orderKeyOf(event));
    return true;
  }

  /** What has been set aside holds its keys, too: it comes first. */
  #heldByOthers(lane: number): readonly ReadonlySet<string>[] {
    const out = this.#out.flatMap((batch, other) => {
      if (other === lane || batch === null) return [];
      batch.keys ??= new Set(batch.calls.flatMap((call) => call.events.map(orderKeyOf)));
      return [batch.keys];
    });
    return [...out, this.#aside.keys];
  }
}

export const makePublishQueue = <Call extends WaitingCall>(limits: QueueLimits): PublishQueue<Call> =>
  new KeyedQueue(limits);
