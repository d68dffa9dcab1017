//! Fetches the log page by page, window by window: the heart of the promises *lossless*, *ordered* and *loud*.
//!
//! From snapshot S to a later T, the window is what T sees and S does not, in the order of ids. T is the snapshot of one of
//! the next ticks, or the current one made crash-safe. A window's first page is found by xid; what does not fit is read on
//! by id. Whether retention removed something is asked in a later statement than the page, before the page is handed over.

import { atRest, inWindow, type Cursor } from "../cursor.ts";
import type { Event } from "../event.ts";
import { gapOf, type TopicGap } from "../gap.ts";
import type { Bounds, Epoch, Log, Look, Page, PageRequest, WindowEnd } from "../log.ts";
import { equals, lateXids, xmin, type Snapshot } from "../snapshot.ts";
import type { TopicFilter } from "../topic.ts";
import { makeTickBounds, type TickBounds } from "./tick-bounds.ts";
import { makeWantedTopics, nameRows, type WantedTopics } from "./wanted-topics.ts";
import { checkEpoch, type WindowEdge, windowEdge } from "./window-edge.ts";

export interface PagesOptions {
  readonly filter: TopicFilter;
  readonly epoch: Epoch;
  /** What one page, read ahead of the batches, may hold. */
  readonly pageEventsMax: number;
  readonly pageBytesMax: number;
}

/** A page, and where it ends. */
export interface FetchedPage {
  /** Ascending by id; empty when the page held nothing that is wanted. */
  readonly events: readonly Event[];
  readonly end: Cursor;
  /** What is gone: to be reported before the page is handed out. */
  readonly gap: readonly TopicGap[];
  /** Whether its window ended at what was then the present. */
  readonly isNear: boolean;
}

export interface Pages {
  /**
   * The page at the front; the front moves behind it. One call at a time.
   * @param mayLook false: null also when it is not known already that there is more; else null when there was nothing
   * more at the time of a look that began after the call
   * @throws PgstreamError `epoch_changed`, `database_went_back`, and what the log throws
   */
  readonly fetch: (mayLook: boolean) => Promise<FetchedPage | null>;
  /**
   * Moves the front somewhere else.
   * @param until where to stop: there `fetch` answers null. Null: nowhere.
   */
  readonly goTo: (cursor: Cursor, until: Snapshot | null) => void;
}

/** What a window that is read by id may span: some dozens of ticks, not a segment. */
const spanMax = 200_000n;
/** One event in so many is wanted, at least, where reading by id pays. */
const sparseness = 4n;

class WindowPages implements Pages {
  readonly #log: Log;
  readonly #options: PagesOptions;
  readonly #topics: WantedTopics;
  readonly #bounds: TickBounds;
  /** Whether topics and bounds are known as of where it started, or was told to go. */
  #hasLooked = false;
  /** Where what was fetched ends: the next page starts here. */
  #front: Cursor;
  /** A look whose `since` is where the front rests, not used yet. */
  #unused: Look | null = null;
  /** Where the front's open window ends, once it is known to take more than a page. */
  #windowEnd: WindowEnd | null = null;
  #windowTop: bigint | null = null;
  #isNear = false;
  /** Until the first look, as one who has much to catch up on. */
  #expectsTick = true;
  /** Whether much of what lies in the way is wanted. */
  #isDense: boolean;
  /** Where to stop, when it is to stop somewhere. */
  #target: Snapshot | null = null;

  constructor(log: Log, start: Cursor, options: PagesOptions) {
    this.#log = log;
    this.#options = options;
    this.#topics = makeWantedTopics(options.filter);
    this.#bounds = makeTickBounds(options.epoch.firstId - 1n);
    this.#front = start;
    this.#isDense = options.filter.all;
  }

  goTo(cursor: Cursor, until: Snapshot | null): void {
    this.#front = cursor;
    this.#unused = null;
    this.#windowEnd = null;
    this.#windowTop = null;
    this.#target = until;
    this.#hasLooked = false;
  }

  async fetch(mayLook: boolean): Promise<FetchedPage | null> {
    if (!this.#hasLooked) this.#unused = await this.#lookFrom(this.#front.seen);
    if (this.#front.window === null) {
      const known = this.#knownEdge();
      if (known === null && !mayLook) return null;
      const edge = known ?? (await this.#lookForEdge());
      if (edge === null) return null;
      if ("gap" in edge) return edge;
      this.#windowTop = edge.top;
      this.#isNear = edge.top === null;
      return await this.#fetchPage(edge.until);
    }
    return await this.#fetchPage(this.#front.window.until);
  }

  /** The way to where it is to stop, or what the look behind the last page said of the next window. */
  #knownEdge(): WindowEdge | null {
    const look = this.#unused;
    const { seen } = this.#front;
    this.#unused = null;
    if (this.#target !== null) return equals(this.#target, seen) ? null : { until: this.#target, top: null };
    return look === null ? null : windowEdge(look, seen);
  }

  /** Looks for a window; null when there is none, and a page without events when only a purge was news. */
  async #lookForEdge(): Promise<WindowEdge | FetchedPage | null> {
    const { seen } = this.#front;
    if (this.#target !== null) return null;
    const look = await this.#lookFrom(seen);
    const edge = windowEdge(look, seen);
    if (edge !== null || look.purge <= this.#front.purge) return edge;
    return await this.#afterPurge(look);
  }

  async #lookFrom(since: Snapshot): Promise<Look> {
    const { epoch } = this.#options;
    if (!this.#hasLooked) this.#learnBounds(await this.#log.bounds(epoch, since));
    const bound = this.#bounds.below(since.xmax);
    const request = {
      since,
      epoch,
      bound,
      topicsSince: this.#topics.since(),
      expectsTick: this.#expectsTick,
    };
    const look = await this.#log.look(request);
    this.#expectsTick = look.tick !== null;
    checkEpoch(look, epoch);
    this.#topics.learn(look);
    this.#hasLooked = true;
    this.#learnBounds(look.bounds);
    return look;
  }

  #learnBounds({ main, late }: Bounds): void {
    for (const it of [late, main]) if (it !== null) this.#bounds.add(it);
  }

  async #fetchPage(until: Snapshot): Promise<FetchedPage> {
    const front = this.#front;
    if (front.window === null) this.#windowEnd = this.#endByTick(until);
    const request = this.#requestFor(until);
    if (front.window !== null) this.#windowEnd ??= await this.#log.windowEnd(request);
    const end = this.#windowEnd;
    const [page, look] = await Promise.all([
      end === null ? this.#log.firstPage(request) : this.#log.nextPage(request, end),
      this.#lookFrom(until),
    ]);
    const after = look.purge > front.purge ? await this.#afterPurge(look) : null;
    // The page may lack something that is reported as gone: it is read again.
    if (after !== null && after.gap.length > 0) return after;
    const last = page.rows.at(-1);
    const open = inWindow(this.#front, until, last?.id ?? request.after);
    if (front.window === null) this.#learnDensity(request, page);
    this.#front = page.more ? open : atRest(open);
    if (!page.more) this.#unused = look;
    return { events: nameRows(page, this.#topics), end: this.#front, gap: [], isNear: this.#isNear };
  }

  /**
   * Where a window ends that is read by id from its first page on: nothing has to be found by xid and sorted. That pays
   * when the ticks around it span few ids, and much of what lies there is wanted.
   */
  #endByTick(until: Snapshot): WindowEnd | null {
    const top = this.#windowTop;
    if (top === null || !this.#isDense) return null;
    const { lateBound } = this.#requestFor(until);
    return top - lateBound <= spanMax ? { late: null, main: top, lateEvents: 0 } : null;
  }

  #learnDensity({ top, mainBound }: PageRequest, { rows, more }: Page): void {
    // A page that was cut in front of its first event tells nothing.
    if (top === null || this.#options.filter.all || (rows.length === 0 && more)) return;
    const end = more ? (rows.at(-1)?.id ?? top) : top;
    this.#isDense = BigInt(rows.length) * sparseness > end - mainBound;
  }

  #requestFor(until: Snapshot): PageRequest {
    const { seen, window } = this.#front;
    const late = lateXids(seen, until);
    this.#bounds.trim(xmin(seen));
    const lateBound = this.#bounds.below(late[0] ?? seen.xmax);
    // Read by id in one stretch, a window starts where its late commits may start.
    const isOneStretch = this.#windowEnd?.late === null && this.#windowEnd.main === this.#windowTop;
    return {
      since: seen,
      until,
      after: window?.after ?? this.#options.epoch.firstId - 1n,
      late,
      lateBound,
      mainBound: isOneStretch ? lateBound : this.#bounds.below(seen.xmax),
      top: this.#windowTop,
      topicIds: this.#topics.ids(),
      eventsMax: this.#options.pageEventsMax,
      bytesMax: this.#options.pageBytesMax,
    };
  }

  /** Takes in what purges removed behind the front. */
  async #afterPurge(look: Look): Promise<FetchedPage> {
    const { epoch } = this.#options;
    const purged = await this.#log.purgedTopics(epoch, this.#front.purge, this.#topics.ids());
    // What was announced since is told by the look that sees it.
    const gap = gapOf(
      purged.filter(({ purge }) => purge <= look.purge),
      this.#front,
    );
    this.#front = { ...this.#front, purge: look.purge };
    return { events: [], end: this.#front, gap, isNear: this.#isNear };
  }
}

export const makePages = (log: Log, start: Cursor, options: PagesOptions): Pages =>
  new WindowPages(log, start, options);
