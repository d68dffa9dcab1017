//! Reads the log window by window: the heart of the promises *lossless*, *ordered* and *loud*.
//!
//! From snapshot S to a later T, the window is what T sees and S does not, in the order of ids. T is the next tick's
//! snapshot, or the current one made crash-safe. A window's first page is found by xid; what does not fit is read on by
//! id. Whether retention removed something is asked in a later statement than the page, before the page is handed over.

import { atRest, inWindow, type Cursor } from "./cursor.ts";
import { PgstreamError } from "./errors.ts";
import { eventOf, type Event } from "./event.ts";
import { gapOf, type TopicGap } from "./gap.ts";
import type { Epoch, Log, Look, Page, PageRequest, WindowEnd } from "./log.ts";
import { covers, crashSafe, equals, lateXids, xmin, type Snapshot } from "./snapshot.ts";
import { makeTickBounds, type TickBounds } from "./tick-bounds.ts";
import type { TopicFilter } from "./topic.ts";
import { makeWantedTopics, type WantedTopics } from "./wanted-topics.ts";

export interface Batch {
  /** Ascending by id within its window; empty when the window held nothing that is wanted. */
  readonly events: readonly Event[];
  /** Where the subscription stands when it has handled them. */
  readonly cursor: Cursor;
}

export interface ReaderOptions {
  readonly filter: TopicFilter;
  readonly epoch: Epoch;
  /** What one batch may hold. */
  readonly batchEventsMax: number;
  /** What one page, read ahead of the batches, may hold. */
  readonly pageEventsMax: number;
  readonly pageBytesMax: number;
  /** Called when retention removed events before they were read; throws to stop, returns to go on behind the gap. */
  readonly onGap: (gap: readonly TopicGap[]) => void;
}

export interface Reader {
  /**
   * The next batch, or null when there was nothing more at the time of a look that began after the call.
   * @throws PgstreamError `epoch_changed`, `database_went_back`, what `onGap` throws, and what the log throws
   */
  readonly next: () => Promise<Batch | null>;
}

/** What a page left to hand out, and where it ends. */
interface Ahead {
  readonly events: readonly Event[];
  readonly end: Cursor;
}

const checkEpoch = (look: Look, epoch: Epoch): void => {
  if (look.epoch.isRunning && look.epoch.newest.id === epoch.id) return;
  throw new PgstreamError(
    "epoch_changed",
    "the database is not the one this cursor was taken on: it was promoted, restored or recreated since; look what it lost, then start over with ON_EPOCH_CHANGE=restart",
    {
      details: { cursorEpoch: epoch.id, newestEpoch: look.epoch.newest.id, isRunning: look.epoch.isRunning },
    },
  );
};

/** Where the window that starts at `since` ends; null when there is nothing to read. */
const windowUntil = (look: Look, since: Snapshot): Snapshot | null => {
  if (!covers(look.current, since)) {
    throw new PgstreamError(
      "database_went_back",
      "the database has not yet seen what this cursor has seen: it was restored from an older image; look what it lost, then start over from earliest",
    );
  }
  const until = look.tick ?? crashSafe(look.current, since, look.newestXid);
  return equals(until, since) ? null : until;
};

class WindowReader implements Reader {
  readonly #log: Log;
  readonly #options: ReaderOptions;
  readonly #topics: WantedTopics;
  readonly #bounds: TickBounds;
  #cursor: Cursor;
  #ahead: Ahead;
  /** A look whose `since` is where the cursor rests, not used yet. */
  #unused: Look | null = null;
  /** Where the open window ends, once it is known to take more than a page. */
  #windowEnd: WindowEnd | null = null;

  constructor(log: Log, start: Cursor, options: ReaderOptions) {
    this.#log = log;
    this.#options = options;
    this.#topics = makeWantedTopics(options.filter);
    this.#bounds = makeTickBounds(options.epoch.firstId - 1n);
    this.#cursor = start;
    this.#ahead = { events: [], end: start };
  }

  async next(): Promise<Batch | null> {
    if (this.#ahead.events.length > 0) return this.#take();
    if (!this.#topics.isKnown()) this.#unused = await this.#lookFrom(this.#cursor.seen);
    const until = this.#cursor.window?.until ?? (await this.#openWindow());
    if (until === null) return null;
    await this.#readPage(until);
    return this.#take();
  }

  /** Looks until a window opens; null when a fresh look sees nothing new. */
  async #openWindow(): Promise<Snapshot | null> {
    const { seen } = this.#cursor;
    const early = this.#unused === null ? null : windowUntil(this.#unused, seen);
    this.#unused = null;
    return early ?? windowUntil(await this.#lookFrom(seen), seen);
  }

  async #lookFrom(since: Snapshot): Promise<Look> {
    const { epoch } = this.#options;
    const bound = this.#bounds.below(since.xmax);
    const look = await this.#log.look({ since, epoch, bound, topicsSince: this.#topics.since() });
    checkEpoch(look, epoch);
    this.#topics.learn(look);
    for (const it of [look.lateBound, look.bound]) if (it !== null) this.#bounds.add(it);
    return look;
  }

  /** Reads a page of the window to `until` into `#ahead`: nothing, when it has to be read again. */
  async #readPage(until: Snapshot): Promise<void> {
    const request = this.#requestFor(until);
    if (this.#cursor.window === null) this.#windowEnd = null;
    else this.#windowEnd ??= await this.#log.windowEnd(request);
    const end = this.#windowEnd;
    const [page, look] = await Promise.all([
      end === null ? this.#log.firstPage(request) : this.#log.nextPage(request, end),
      this.#lookFrom(until),
    ]);
    if (await this.#missedSomething(look)) {
      this.#ahead = { events: [], end: this.#cursor };
      return;
    }
    const last = page.rows.at(-1);
    const open = inWindow(this.#cursor, until, last?.id ?? request.after);
    this.#ahead = { events: this.#named(page), end: page.more ? open : atRest(open) };
    if (!page.more) this.#unused = look;
  }

  #requestFor(until: Snapshot): PageRequest {
    const { seen, window } = this.#cursor;
    const late = lateXids(seen, until);
    this.#bounds.trim(xmin(seen));
    return {
      since: seen,
      until,
      after: window?.after ?? this.#options.epoch.firstId - 1n,
      late,
      lateBound: this.#bounds.below(late[0] ?? seen.xmax),
      mainBound: this.#bounds.below(seen.xmax),
      topicIds: this.#topics.ids(),
      eventsMax: this.#options.pageEventsMax,
      bytesMax: this.#options.pageBytesMax,
    };
  }

  /** Tells of what is gone. Answers whether the page in hand may lack something for it. */
  async #missedSomething(look: Look): Promise<boolean> {
    if (look.purge <= this.#cursor.purge) return false;
    const purged = await this.#log.purgedTopics(this.#options.epoch, this.#cursor.purge, this.#topics.ids());
    const gap = gapOf(purged, this.#cursor);
    if (gap.length > 0) this.#options.onGap(gap);
    this.#cursor = { ...this.#cursor, purge: look.purge };
    return gap.length > 0;
  }

  #named(page: Page): readonly Event[] {
    return page.rows.map((row) => {
      const topic = this.#topics.name(row.topicId);
      if (topic !== undefined) return eventOf(row, topic);
      throw new PgstreamError("internal", `event ${row.id} is of unknown topic ${row.topicId}`);
    });
  }

  /** The next slice of what was read ahead; without events when there is none, and the cursor moves all the same. */
  #take(): Batch {
    const { events: left, end } = this.#ahead;
    const events = left.slice(0, this.#options.batchEventsMax);
    const rest = left.slice(events.length);
    const last = events.at(-1);
    this.#cursor =
      rest.length === 0 || last === undefined
        ? end
        : inWindow(this.#cursor, end.window?.until ?? end.seen, last.id);
    this.#ahead = { events: rest, end };
    return { events, cursor: this.#cursor };
  }
}

export const makeReader = (log: Log, start: Cursor, options: ReaderOptions): Reader =>
  new WindowReader(log, start, options);
