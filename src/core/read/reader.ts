//! Reads the log in batches. While a page is being handled the next ones are fetched, where it is known that there are some.

import { inWindow, type Cursor } from "../cursor.ts";
import type { Event } from "../event.ts";
import type { TopicGap } from "../gap.ts";
import type { Log } from "../log.ts";
import type { Snapshot } from "../snapshot.ts";
import { type FetchedPage, makePages, type Pages, type PagesOptions } from "./pages.ts";
import { makeReadAhead, type ReadAhead } from "./read-ahead.ts";

export interface Batch {
  /** Ascending by id within its window; empty when the window held nothing that is wanted. */
  readonly events: readonly Event[];
  /** Where the subscription stands when it has handled them. */
  readonly cursor: Cursor;
}

export interface ReaderOptions extends PagesOptions {
  /** What one batch may hold. */
  readonly batchEventsMax: number;
  /** Called when retention removed events before they were read; throws to stop, returns to go on behind the gap. */
  readonly onGap: (gap: readonly TopicGap[]) => void;
}

export interface Reader {
  /**
   * The next batch, or null when there was nothing more at the time of a look that began after the call.
   * @throws PgstreamError `epoch_changed`, `database_went_back`, what `onGap` throws, and what the log throws
   */
  readonly next: () => Promise<Batch | null>;
  /** Whether what was handed out last was of a window that ended at what was then the present. */
  readonly isNear: () => boolean;
  /**
   * Goes on from another place. What was read ahead is forgotten.
   * @param until where to stop: from then on `next` answers null there. Null: nowhere.
   */
  readonly goTo: (cursor: Cursor, until: Snapshot | null) => Promise<void>;
}

/** What a page left to hand out, and where it ends. */
type Ahead = Omit<FetchedPage, "gap">;

class WindowReader implements Reader {
  readonly #options: ReaderOptions;
  readonly #pages: Pages;
  readonly #fetched: ReadAhead;
  /** Where what was handed out ends. */
  #cursor: Cursor;
  #ahead: Ahead;
  /** A page with a gap that nobody has accepted yet. */
  #refused: FetchedPage | null = null;

  constructor(log: Log, start: Cursor, options: ReaderOptions) {
    this.#options = options;
    this.#pages = makePages(log, start, options);
    this.#fetched = makeReadAhead(this.#pages);
    this.#cursor = start;
    this.#ahead = { events: [], end: start, isNear: false };
  }

  async next(): Promise<Batch | null> {
    if (this.#ahead.events.length > 0) return this.#take();
    const fetched = this.#refused ?? (await this.#fetched.next());
    if (fetched === null) return null;
    if (fetched.gap.length > 0) {
      this.#refused = fetched;
      this.#options.onGap(fetched.gap);
      this.#refused = null;
    }
    this.#ahead = fetched;
    return this.#take();
  }

  isNear(): boolean {
    return this.#ahead.isNear;
  }

  async goTo(cursor: Cursor, until: Snapshot | null): Promise<void> {
    await this.#fetched.forget();
    this.#cursor = cursor;
    this.#ahead = { events: [], end: cursor, isNear: false };
    this.#refused = null;
    this.#pages.goTo(cursor, until);
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
    this.#ahead = { ...this.#ahead, events: rest, end };
    return { events, cursor: this.#cursor };
  }
}

export const makeReader = (log: Log, start: Cursor, options: ReaderOptions): Reader =>
  new WindowReader(log, start, options);
