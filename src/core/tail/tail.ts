//! The shared tail: subscriptions of one process that have caught up read the log together.
//!
//! It reads window after window and hands each to all members, each of which takes them at its own pace. It reads when one
//! of them has nothing left, or one page where it is behind: while all are busy, what comes is better read later, in fewer and
//! larger windows. Whoever lags too far behind is put out, and so is everybody when anything is out of the ordinary: a purge that removed events,
//! another epoch, a lost connection. Those put out read on alone from their own cursors, where all of that is dealt with:
//! see follower.ts.
//!
//! A window is for those who were members before it was asked for: it was asked for with their topics. Whoever joined
//! meanwhile gets a mark: a window without events that starts and ends where this one ends.
//!
//! Between windows it forgets what only those wanted who have gone. In the middle of one it must not: those who stay are
//! handed all of a window's pages, so all of them are asked for with the same topics.

import type { Cursor } from "../cursor.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../ports.ts";
import { parseTopicPatterns, type TopicFilter } from "../topic.ts";
import type { WakeupFlag } from "../wakeup-flag.ts";
import { type Membership, type TailMember, TailQueue, type TailWindow } from "./tail-queue.ts";
import { TailReader, type TailReaderOptions, type TailReaderPorts } from "./tail-reader.ts";

export interface Tail {
  /**
   * Null when it cannot be joined now: it is of another epoch, knows of newer purges, is in the middle of a window, or has
   * just failed.
   */
  readonly join: (member: TailMember) => Membership | null;
}

export interface TailPorts extends TailReaderPorts {
  readonly wakeups: WakeupFlag;
  readonly logger: Logger;
}

export interface TailOptions extends TailReaderOptions {
  /** How far a member may lag behind. */
  readonly lagEventsMax: number;
  readonly lagBytesMax: number;
  /** How long nobody may join after it failed. */
  readonly pauseMs: number;
}

/** With nobody in it, it waits to be joined. */
const unusedWaitMs = 60_000;

/** Made of their patterns, not of the filters: as deep as one, however many there are. */
const anyOf = (filters: readonly TopicFilter[]): TopicFilter =>
  filters.find(({ all }) => all) ??
  parseTopicPatterns([...new Set(filters.flatMap(({ patterns }) => patterns))]);

const markAt = (place: Cursor): TailWindow => ({ start: place, end: place, events: [] });

/** What it reads, and of which epoch. */
interface Reading {
  readonly epoch: string;
  readonly reader: TailReader;
}

export class SharedTail implements Tail {
  readonly #ports: TailPorts;
  readonly #options: TailOptions;
  readonly #members = new Set<TailQueue>();
  #reading: Reading | null = null;
  /** Who gets the window at hand, which may come in several pages. */
  #audience: ReadonlySet<TailQueue> = new Set();
  #closedUntil = 0;
  /** Whether there was a hint that it did not follow yet. */
  #isPutOff = false;

  constructor(ports: TailPorts, options: TailOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  join(member: TailMember): Membership | null {
    const { clock, wakeups } = this.#ports;
    if (clock.now() < this.#closedUntil) return null;
    // The first one in decides where it starts.
    const reading = this.#reading ?? this.#read(member);
    const at = reading.reader.at();
    if (reading.epoch !== member.epoch.id || at.purge > member.cursor.purge) return null;
    // In the middle of a window there is no place to go to.
    if (at.window !== null) return null;
    const limits = { eventsMax: this.#options.lagEventsMax, bytesMax: this.#options.lagBytesMax };
    const queue: TailQueue = new TailQueue(member, limits, {
      onDrop: () => {
        if (this.#isPutOff) wakeups.raise();
      },
      onClose: () => {
        this.#leave(queue);
      },
    });
    queue.push(markAt(at));
    this.#members.add(queue);
    this.#reading = reading;
    wakeups.raise();
    return queue;
  }

  /** Reads on whenever there is a hint, and at least as often as its most eager member polls, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { wakeups, clock, logger } = this.#ports;
    while (!signal.aborted) {
      wakeups.clear();
      try {
        if (await this.#advance()) continue;
      } catch (error) {
        if (!signal.aborted) logger.debug({ error: messageOf(error) }, "the shared tail failed");
        this.#closedUntil = clock.now() + this.#options.pauseMs;
        this.#disband();
      }
      const waits = [...this.#members].map((it) => it.member.pollIntervalMs);
      await wakeups.wait(Math.min(unusedWaitMs, ...waits), signal);
    }
    this.#disband();
  }

  #read({ epoch, filter, cursor: at }: TailMember): Reading {
    return { epoch: epoch.id, reader: new TailReader(this.#ports, this.#options, { epoch, filter, at }) };
  }

  #leave(queue: TailQueue): void {
    this.#members.delete(queue);
    if (this.#members.size === 0) this.#reading = null;
  }

  /**
   * Reads one page. Answers whether to go on at once: behind a live window it waits for the next hint. Not behind the last of
   * several pages: that one was looked for before, and the hint of what came meanwhile has been cleared since.
   */
  async #advance(): Promise<boolean> {
    if (this.#reading === null || this.#members.size === 0) return false;
    const { reader } = this.#reading;
    if (reader.at().window === null) this.#gather(reader);
    // Where more is known to be there, one page is read ahead.
    const wasBehind = reader.isBehind();
    const plenty = wasBehind ? 2 : 1;
    this.#isPutOff = [...this.#members].every((queue) => queue.waiting() >= plenty);
    if (this.#isPutOff) return false;
    const step = await reader.read();
    // Everybody left meanwhile, and perhaps somebody else came.
    if (this.#reading?.reader !== reader) return true;
    if (step === "odd") this.#disband();
    if (step === "odd" || step === "nothing") return false;
    if (step === "again") return true;
    this.#hand(step);
    return wasBehind || reader.isBehind();
  }

  /** From the next window on it reads for those who are present: what they want, and nothing else. */
  #gather(reader: TailReader): void {
    if (this.#members.symmetricDifference(this.#audience).size === 0) return;
    this.#audience = new Set(this.#members);
    reader.want(anyOf([...this.#members].map(({ member }) => member.filter)));
  }

  #hand(window: TailWindow): void {
    for (const queue of this.#members) {
      if (this.#audience.has(queue)) queue.push(window);
      else if (window.end.window === null) queue.push(markAt(window.end));
    }
  }

  /** Puts everybody out. */
  #disband(): void {
    for (const queue of this.#members) queue.close();
    this.#reading = null;
  }
}
