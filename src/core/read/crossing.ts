//! Crosses from an earlier epoch of the log into the newest one: first what the log still holds of the earlier, and the cursor has not
//! handled, in the order of ids; then the next epoch is read from its beginning.
//!
//! Once an epoch is over nothing is added to it, but by transactions that were prepared in it. So what a cursor lacks is
//! what is there below the next epoch's first id and was not visible in it, whatever the server's own snapshots say: after a
//! restore its xids have nothing to do with those of the rows.

import { atRest, type Cursor, inWindow, isCrossing } from "../cursor.ts";
import type { Event } from "../event.ts";
import { gapOf, type TopicGap } from "../gap.ts";
import type { Epoch, Log, Page, PurgedTopic } from "../log.ts";
import { emptySnapshot, fullSnapshot, lateXids, sees } from "../snapshot.ts";
import type { TopicFilter } from "../topic.ts";
import type { Batch } from "./reader.ts";
import { beginningOf } from "./start.ts";
import { makeWantedTopics, nameRows, type WantedTopics } from "./wanted-topics.ts";

export interface CrossingOptions {
  readonly filter: TopicFilter;
  readonly pageEventsMax: number;
  readonly pageBytesMax: number;
  readonly batchEventsMax: number;
  /** As of a reader: throws to stop, returns to go on behind the gap. */
  readonly onGap: (gap: readonly TopicGap[]) => void;
}

export interface Crossing {
  /**
   * The next batch of what was left, with a cursor of the epoch that it is of; null at the beginning of the newest.
   * @throws what `onGap` throws, and what the log throws
   */
  readonly next: () => Promise<Batch | null>;
  /** Where it stands: in the end, at the beginning of the newest epoch. */
  readonly cursor: () => Cursor;
}

/** A purge's floor says what was removed, unless it was taken on a server that counts its transactions anew. */
const withOwnFloor = (purged: PurgedTopic): PurgedTopic =>
  sees(purged.floor, purged.lastXid) ? purged : { ...purged, floor: fullSnapshot };

class EpochCrossing implements Crossing {
  readonly #log: Log;
  readonly #options: CrossingOptions;
  readonly #topics: WantedTopics;
  /** From the epoch of the cursor to the newest. */
  #path: readonly Epoch[];
  #cursor: Cursor;
  /** Of the page that was read last. */
  #left: readonly Event[] = [];
  /** Whether that page was the last of its window. */
  #isThrough = false;

  constructor(log: Log, start: Cursor, path: readonly Epoch[], options: CrossingOptions) {
    this.#log = log;
    this.#options = options;
    this.#topics = makeWantedTopics(options.filter);
    this.#path = path;
    this.#cursor = start;
  }

  cursor(): Cursor {
    return this.#cursor;
  }

  async next(): Promise<Batch | null> {
    if (!this.#topics.isKnown()) await this.#learn();
    while (this.#left.length === 0) {
      if (this.#isThrough) this.#moveOn();
      const [epoch, following] = this.#path;
      if (epoch === undefined || following === undefined) return null;
      await this.#read(epoch, following);
    }
    const events = this.#left.slice(0, this.#options.batchEventsMax);
    this.#left = this.#left.slice(events.length);
    const until = this.#cursor.window?.until ?? fullSnapshot;
    this.#cursor = inWindow(this.#cursor, until, events.at(-1)?.id ?? 0n);
    return { events, cursor: this.#cursor };
  }

  async #learn(): Promise<void> {
    const newest = this.#path.at(-1);
    if (newest === undefined) return;
    const look = await this.#log.look({
      since: newest.snapshot,
      epoch: newest,
      bound: newest.firstId - 1n,
      topicsSince: emptySnapshot,
      expectsTick: true,
    });
    this.#topics.learn(look);
    // A restored log counts its purges anew.
    if (look.purge < this.#cursor.purge) this.#cursor = { ...this.#cursor, purge: 0n };
  }

  /** Behind the last page of a window: to all else that is left of the epoch, or into the following one. */
  #moveOn(): void {
    this.#isThrough = false;
    if (!isCrossing(this.#cursor)) {
      this.#cursor = atRest(this.#cursor);
      return;
    }
    this.#path = this.#path.slice(1);
    const [epoch] = this.#path;
    if (epoch !== undefined) this.#cursor = { ...beginningOf(epoch), purge: this.#cursor.purge };
  }

  async #read(epoch: Epoch, following: Epoch): Promise<void> {
    if (this.#cursor.window === null) {
      const { late } = await this.#log.bounds(epoch, this.#cursor.seen);
      const floor = epoch.firstId - 1n;
      const after = late === null || late.lastId < floor ? floor : late.lastId;
      this.#cursor = inWindow(this.#cursor, fullSnapshot, after);
    }
    const page = await this.#readPage(following.firstId - 1n);
    // In a later statement than the page: it may lack what is gone.
    await this.#tellGap(epoch);
    this.#left = nameRows(page, this.#topics);
    this.#isThrough = !page.more;
  }

  async #readPage(lastId: bigint): Promise<Page> {
    const { seen, window } = this.#cursor;
    const { until, after } = window ?? { until: fullSnapshot, after: 0n };
    const { pageEventsMax, pageBytesMax } = this.#options;
    const request = {
      since: seen,
      until,
      after,
      late: lateXids(seen, until),
      lateBound: after,
      mainBound: after,
      top: null,
      topicIds: this.#topics.ids(),
      eventsMax: pageEventsMax,
      bytesMax: pageBytesMax,
    };
    return await this.#log.nextPage(request, { late: null, main: lastId, lateEvents: 0 });
  }

  async #tellGap(epoch: Epoch): Promise<void> {
    const purged = await this.#log.purgedTopics(epoch, this.#cursor.purge, this.#topics.ids());
    const newest = purged.at(-1);
    if (newest === undefined) return;
    const gap = gapOf(purged.map(withOwnFloor), this.#cursor);
    if (gap.length > 0) this.#options.onGap(gap);
    this.#cursor = { ...this.#cursor, purge: newest.purge };
  }
}

/** @param path the epochs of the log from that of `start` to the newest, ascending */
export const makeCrossing = (
  log: Log,
  start: Cursor,
  path: readonly Epoch[],
  options: CrossingOptions,
): Crossing => new EpochCrossing(log, start, path, options);
