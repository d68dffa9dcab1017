//! Reads alone until it has caught up, then with the shared tail; alone again when it is put out of that.
//!
//! It takes a window of the tail only when it rests exactly where the window starts. Where it rests elsewhere it goes
//! there alone first, when the start is ahead. A window that started before it is dropped, and what it has of news is read
//! alone: up to what either has seen, since the two need not be one behind the other. Each may have seen a transaction
//! that the other has not: a tick's snapshot claims more than one that was made crash-safe.

import { type Cursor, inWindow, samePlace } from "../cursor.ts";
import type { Log } from "../log.ts";
import { type Batch, makeReader, type Reader, type ReaderOptions } from "../read/reader.ts";
import { covers, type Snapshot, union } from "../snapshot.ts";
import type { Membership, TailWindow } from "./tail-queue.ts";
import type { Tail } from "./tail.ts";

export interface FollowerPorts {
  readonly log: Log;
  readonly tail: Tail;
  /** Called when there may be something new. */
  readonly onNews: () => void;
}

export interface FollowerOptions extends ReaderOptions {
  readonly pollIntervalMs: number;
}

export interface Follower extends Pick<Reader, "next"> {
  /** Whether it reads with the tail. */
  readonly isTogether: () => boolean;
  readonly leave: () => void;
}

class TailFollower implements Follower {
  readonly #ports: FollowerPorts;
  readonly #options: FollowerOptions;
  readonly #reader: Reader;
  #cursor: Cursor;
  #membership: Membership | null = null;
  /** On its way, alone, to a place of the tail's. */
  #isOnItsWay = false;
  /** How many events of the membership's first window were handed out. */
  #taken = 0;

  constructor(ports: FollowerPorts, start: Cursor, options: FollowerOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#reader = makeReader(ports.log, start, options);
    this.#cursor = start;
  }

  async next(): Promise<Batch | null> {
    for (;;) {
      // Near the present it does not wait for a moment of quiet, which may not come.
      if (this.#membership === null && this.#isNear()) this.#membership = this.#join();
      if (this.#membership === null || this.#isOnItsWay) {
        const batch = await this.#reader.next();
        if (batch !== null) return this.#passOn(batch);
        this.#isOnItsWay = false;
        this.#membership ??= this.#join();
        if (this.#membership === null) return null;
      } else if (!this.#membership.isOpen()) {
        this.leave();
        await this.#reader.goTo(this.#cursor, null);
      } else {
        const window = this.#membership.first();
        if (window === null) return null;
        const batch = await this.#enter(window, this.#membership);
        if (batch !== null) return batch;
      }
    }
  }

  isTogether(): boolean {
    return this.#membership !== null;
  }

  leave(): void {
    this.#membership?.leave();
    this.#membership = null;
    this.#isOnItsWay = false;
    this.#taken = 0;
  }

  #isNear(): boolean {
    return this.#cursor.window === null && this.#reader.isNear();
  }

  #join(): Membership | null {
    const { filter, epoch, pollIntervalMs } = this.#options;
    const { onNews, tail } = this.#ports;
    return tail.join({ filter, epoch, cursor: this.#cursor, pollIntervalMs, onNews });
  }

  #passOn(batch: Batch): Batch {
    this.#cursor = batch.cursor;
    return batch;
  }

  /** The next batch of the window; null when there is somewhere to go first, or the window is of no use. */
  async #enter(window: TailWindow, membership: Membership): Promise<Batch | null> {
    const { start, end } = window;
    const { seen } = this.#cursor;
    if (this.#taken > 0 || samePlace(start, this.#cursor)) return this.#take(window, membership);
    if (start.window === null && covers(start.seen, seen)) {
      await this.#goTo(start.seen);
      return null;
    }
    membership.drop();
    if (end.window === null && !covers(seen, end.seen)) await this.#goTo(union(seen, end.seen));
    else if (!samePlace(start, end)) {
      // The tail is behind. It is not waited for.
      this.leave();
      await this.#reader.goTo(this.#cursor, null);
    }
    return null;
  }

  async #goTo(place: Snapshot): Promise<void> {
    this.#isOnItsWay = true;
    await this.#reader.goTo(this.#cursor, place);
  }

  #take(window: TailWindow, membership: Membership): Batch | null {
    const events = window.events.slice(this.#taken, this.#taken + this.#options.batchEventsMax);
    this.#taken += events.length;
    const { end } = window;
    const last = events.at(-1);
    if (last !== undefined && this.#taken < window.events.length) {
      this.#cursor = inWindow(this.#cursor, end.window?.until ?? end.seen, last.id);
      return { events, cursor: this.#cursor };
    }
    membership.drop();
    this.#taken = 0;
    const isMark = events.length === 0 && samePlace(window.start, end);
    const purge = end.purge > this.#cursor.purge ? end.purge : this.#cursor.purge;
    this.#cursor = { ...end, purge };
    return isMark ? null : { events, cursor: this.#cursor };
  }
}

export const makeFollower = (ports: FollowerPorts, start: Cursor, options: FollowerOptions): Follower =>
  new TailFollower(ports, start, options);
