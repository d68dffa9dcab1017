//! Crosses from an earlier epoch of the log into the newest one: first what the log still holds of the earlier, and the cursor has not
//! handled, in the order of ids; then the next epoch is read from its beginning.
//!
//! Once an epoch is over nothing is added to it, but by transactions that were prepared in it. So what a cursor lacks is
//! what is there below the next epoch's first id and was not visible in it, whatever the server's own snapshots say: after a
//! restore its xids have nothing to do with those of the rows.

import { atRest, type Cursor, inWindow, isCrossing } from "../cursor.ts";
import { PgstreamError } from "../errors.ts";
import type { Event } from "../event.ts";
import { gapOf, type TopicGap } from "../gap.ts";
import type { Epoch, Log, PageRequest, PurgedTopic, WindowEnd } from "../log.ts";
import { emptySnapshot, fullSnapshot, lateXids } from "../snapshot.ts";
import type { TopicFilter } from "../topic.ts";
import type { Batch } from "./reader.ts";
import { beginningOf } from "./start.ts";
import { makeWantedTopics, nameRows, type WantedTopics } from "./wanted-topics.ts";
import { checkEpoch } from "./window-edge.ts";

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
   * The next batch of what was left, with a cursor of the epoch that it is of; without events where a stretch holds nothing that is
   * wanted; null at the beginning of the newest.
   * @throws PgstreamError `epoch_changed`, what `onGap` throws, and what the log throws
   */
  readonly next: () => Promise<Batch | null>;
  /** Where it stands: in the end, at the beginning of the newest epoch. */
  readonly cursor: () => Cursor;
}

/** A purge's floor says what was removed, unless it was announced in a later epoch, where the server may count its transactions anew. */
const withOwnFloor = (purged: PurgedTopic, { number }: Epoch): PurgedTopic =>
  purged.purge >> 32n <= BigInt(number) ? purged : { ...purged, floor: fullSnapshot };

/** What follows a page, in later statements on the same connection. */
interface Answer<T> {
  readonly found: T;
  readonly purged: readonly PurgedTopic[];
}

class EpochCrossing implements Crossing {
  readonly #log: Log;
  readonly #options: CrossingOptions;
  readonly #topics: WantedTopics;
  readonly #newest: Epoch | undefined;
  /** From the epoch of the cursor to the newest. */
  #path: readonly Epoch[];
  #cursor: Cursor;
  /** The newest purge that was told of in this epoch. The cursor keeps what it began with: it is of all epochs. */
  #told: bigint;
  /** Of the page that was read last. */
  #left: readonly Event[] = [];
  /** How far pages are read now: an open window to its end, the rest of an epoch in steps. Null: it has to be asked. */
  #end: WindowEnd | null = null;
  /** Whether nothing is left up to there. */
  #isDone = false;
  /** Where the step behind it ends, once it is done; null: it was the last one. */
  #nextEnd: WindowEnd | null = null;

  constructor(log: Log, start: Cursor, path: readonly Epoch[], options: CrossingOptions) {
    this.#log = log;
    this.#options = options;
    this.#topics = makeWantedTopics(options.filter);
    this.#newest = path.at(-1);
    this.#path = path;
    this.#cursor = start;
    this.#told = start.purge;
  }

  cursor(): Cursor {
    return this.#cursor;
  }

  async next(): Promise<Batch | null> {
    if (!this.#topics.isKnown()) await this.#learn();
    while (this.#left.length === 0) {
      const [epoch, following] = this.#path;
      if (epoch === undefined || following === undefined) return null;
      if (this.#isDone && isCrossing(this.#cursor)) return this.#passStep();
      if (this.#isDone || !(await this.#read(epoch, following.firstId - 1n))) this.#moveOn();
    }
    const events = this.#left.slice(0, this.#options.batchEventsMax);
    this.#left = this.#left.slice(events.length);
    this.#goTo(events.at(-1)?.id ?? 0n);
    if (this.#left.length === 0 && this.#isLast()) this.#moveOn();
    return { events, cursor: this.#cursor };
  }

  #goTo(after: bigint): void {
    this.#cursor = inWindow(this.#cursor, this.#cursor.window?.until ?? fullSnapshot, after);
  }

  /** Without events: so that whoever wants few of them remembers how far it has come. */
  #passStep(): Batch {
    this.#goTo(this.#end?.main ?? 0n);
    if (this.#isLast()) this.#moveOn();
    else this.#readTo(this.#nextEnd);
    return { events: [], cursor: this.#cursor };
  }

  /** Whether it stands in the last step of the epoch, and has read all of it. */
  #isLast(): boolean {
    return this.#isDone && this.#nextEnd === null && isCrossing(this.#cursor);
  }

  #readTo(end: WindowEnd | null): void {
    this.#end = end;
    this.#isDone = false;
    this.#nextEnd = null;
  }

  async #learn(): Promise<void> {
    if (this.#newest === undefined) return;
    const look = await this.#log.look({
      since: this.#newest.snapshot,
      epoch: this.#newest,
      bound: this.#newest.firstId - 1n,
      topicsSince: emptySnapshot,
      expectsTick: true,
    });
    checkEpoch(look, this.#newest);
    this.#topics.learn(look);
  }

  /** Behind the end of a window: to all else that is left of the epoch, or into the following one. */
  #moveOn(): void {
    this.#readTo(null);
    const isAllOfIt = isCrossing(this.#cursor);
    this.#cursor = atRest(this.#cursor);
    if (!isAllOfIt) return;
    this.#path = this.#path.slice(1);
    this.#told = this.#cursor.purge;
    const [epoch] = this.#path;
    if (epoch !== undefined) this.#cursor = { ...beginningOf(epoch), purge: this.#cursor.purge };
  }

  /** Reads on; answers whether there was anything up to `last`. */
  async #read(epoch: Epoch, last: bigint): Promise<boolean> {
    if (this.#cursor.window === null) {
      const { late } = await this.#log.bounds(epoch, this.#cursor.seen);
      const floor = epoch.firstId - 1n;
      this.#goTo(late === null || late.lastId < floor ? floor : late.lastId);
    }
    if (this.#end === null) {
      const { found, purged } = await this.#ask(epoch, this.#findEnd(last));
      if (this.#tellGap(epoch, purged)) return true;
      if (found === null) return false;
      this.#end = found;
    }
    const { found: page, purged } = await this.#ask(
      epoch,
      this.#log.nextPage(this.#request(last), this.#end),
    );
    // The page may lack something that is told of as gone, or have what is: it is read again.
    if (this.#tellGap(epoch, purged)) return true;
    if (!page.more && isCrossing(this.#cursor)) {
      const next = await this.#ask(epoch, this.#findStepEnd(this.#end.main ?? 0n, last));
      if (this.#tellGap(epoch, next.purged)) return true;
      this.#nextEnd = next.found;
    }
    // An xid that was lost may have been handed out again: what is behind the epoch is not of this window.
    const rows = page.rows.filter(({ id }) => id <= last);
    // Made by a transaction that was prepared in an earlier epoch, and has committed on the way.
    if (rows.some(({ topicId }) => this.#topics.name(topicId) === undefined)) await this.#learn();
    this.#left = nameRows({ ...page, rows }, this.#topics);
    this.#isDone = !page.more || rows.length < page.rows.length;
    return true;
  }

  #request(last: bigint): PageRequest {
    const { seen, window } = this.#cursor;
    const { until, after } = window ?? { until: fullSnapshot, after: 0n };
    return {
      since: seen,
      until,
      after,
      late: lateXids(seen, until),
      lateBound: after,
      mainBound: after,
      top: last,
      topicIds: this.#topics.ids(),
      eventsMax: this.#options.pageEventsMax,
      bytesMax: this.#options.pageBytesMax,
    };
  }

  async #findEnd(last: bigint): Promise<WindowEnd | null> {
    const request = this.#request(last);
    if (!isCrossing(this.#cursor)) {
      const end = await this.#log.windowEnd(request);
      return end.late === null && end.main === null ? null : end;
    }
    return await this.#findStepEnd(request.after, last);
  }

  async #findStepEnd(after: bigint, last: bigint): Promise<WindowEnd | null> {
    const main = await this.#log.stepEnd(after, last);
    return main === null ? null : { late: null, main, lateEvents: 0 };
  }

  /** @throws PgstreamError `epoch_changed`, `standby` when another server answered */
  async #ask<T>(epoch: Epoch, first: Promise<T>): Promise<Answer<T>> {
    const [found, { newest, isRunning }, purged] = await Promise.all([
      first,
      this.#log.epoch(),
      this.#log.purgedTopics(epoch, this.#told, this.#topics.ids()),
    ]);
    if (isRunning && newest.id === this.#newest?.id) return { found, purged };
    throw new PgstreamError(
      "epoch_changed",
      "the database is not the one any more that this crossing began on",
    );
  }

  #tellGap(epoch: Epoch, purged: readonly PurgedTopic[]): boolean {
    const newest = purged.at(-1);
    if (newest === undefined) return false;
    const gap = gapOf(
      purged.map((it) => withOwnFloor(it, epoch)),
      this.#cursor,
    );
    if (gap.length > 0) this.#options.onGap(gap);
    this.#told = newest.purge;
    return gap.length > 0;
  }
}

/** @param path the epochs of the log from that of `start` to the newest, ascending */
export const makeCrossing = (
  log: Log,
  start: Cursor,
  path: readonly Epoch[],
  options: CrossingOptions,
): Crossing => new EpochCrossing(log, start, path, options);
