//! What one member of the shared tail has yet to take: windows, oldest first, of no more than it may lag behind.

import { type Cursor, samePlace } from "../cursor.ts";
import type { Event } from "../event.ts";
import type { Epoch } from "../log.ts";
import type { TopicFilter } from "../topic.ts";

/** From one place to another, in one window: the events between them that the member wants, ascending by id. */
export interface TailWindow {
  readonly start: Cursor;
  /** Nothing that the purges it knows of removed was missing between start and end. */
  readonly end: Cursor;
  readonly events: readonly Event[];
}

/** A subscription at rest that wants to join. */
export interface TailMember {
  readonly filter: TopicFilter;
  readonly epoch: Epoch;
  /** At rest. */
  readonly cursor: Cursor;
  readonly pollIntervalMs: number;
  /** Called when there is something to take, and when it has been put out. */
  readonly onNews: () => void;
}

export interface Membership {
  /** The oldest window not dropped yet; null when there is none. */
  readonly first: () => TailWindow | null;
  /** Done with the oldest window. */
  readonly drop: () => void;
  /** False once it has been put out. Nothing is left to take then. */
  readonly isOpen: () => boolean;
  readonly leave: () => void;
}

/** What it may hold. */
interface QueueLimits {
  readonly eventsMax: number;
  readonly bytesMax: number;
}

interface QueueEvents {
  /** It has one less to take. */
  readonly onDrop: () => void;
  readonly onClose: () => void;
}

const bytesOf = (events: readonly Event[]): number =>
  events.reduce(
    (sum, { json, headers }) => sum + json.length + (headers === null ? 0 : JSON.stringify(headers).length),
    0,
  );

export class TailQueue implements Membership {
  readonly member: TailMember;
  readonly #limits: QueueLimits;
  readonly #events: QueueEvents;
  readonly #isWanted = new Map<string, boolean>();
  #windows: TailWindow[] = [];
  readonly #held = { events: 0, bytes: 0 };
  #open = true;

  constructor(member: TailMember, limits: QueueLimits, events: QueueEvents) {
    this.member = member;
    this.#limits = limits;
    this.#events = events;
  }

  first(): TailWindow | null {
    return this.#windows[0] ?? null;
  }

  /** How many it has to take. */
  waiting(): number {
    return this.#windows.length;
  }

  drop(): void {
    const window = this.#windows.shift();
    if (window === undefined) return;
    this.#hold(window.events, -1);
    this.#events.onDrop();
  }

  isOpen(): boolean {
    return this.#open;
  }

  leave(): void {
    this.#open = false;
    this.#windows = [];
    this.#events.onClose();
  }

  /** Puts the member out. */
  close(): void {
    this.leave();
    this.member.onNews();
  }

  push(window: TailWindow): void {
    const events = this.#wanted(window.events);
    this.#hold(events, 1);
    if (this.#held.events > this.#limits.eventsMax || this.#held.bytes > this.#limits.bytesMax) {
      this.close();
      return;
    }
    const last = this.#windows.at(-1);
    // What holds nothing for the member is lengthened, so that the queue grows with events only. But not from the middle of
    // one window into the next one: whoever stops in between would be in the middle of both.
    if (
      last !== undefined &&
      this.#windows.length > 1 &&
      last.events.length === 0 &&
      last.start.window === null &&
      samePlace(last.end, window.start)
    ) {
      this.#windows[this.#windows.length - 1] = { ...window, events, start: last.start };
    } else {
      this.#windows.push({ ...window, events });
    }
    this.member.onNews();
  }

  #hold(events: readonly Event[], sign: 1 | -1): void {
    this.#held.events += sign * events.length;
    this.#held.bytes += sign * bytesOf(events);
  }

  #wanted(events: readonly Event[]): readonly Event[] {
    const { filter } = this.member;
    return filter.all ? events : events.filter(({ topic }) => this.#wants(topic));
  }

  #wants(topic: string): boolean {
    const known = this.#isWanted.get(topic);
    if (known !== undefined) return known;
    const wanted = this.member.filter.matches(topic);
    this.#isWanted.set(topic, wanted);
    return wanted;
  }
}
