//! Reads the log for all members of the tail, window after window.
//!
//! Live, a window is everything from where it stands to now: page and news come in one round trip. When that is more than
//! a page, it goes on page by page, as whoever reads alone does, until it is near the present again. So it does when new
//! topics keep coming: a live read cannot have asked for those that its own snapshot is the first to show, and what it
//! brought is then thrown away. Whoever reads page by page fixes where the window ends first, and asks for the topics up to there.

import { type Cursor, sameRest } from "../cursor.ts";
import { gapOf } from "../gap.ts";
import type { Bounds, Epoch, Log, News, NewTopic, Page } from "../log.ts";
import type { Clock } from "../ports.ts";
import { makePages, type Pages } from "../read/pages.ts";
import { makeWantedTopics, nameRows, type WantedTopics } from "../read/wanted-topics.ts";
import { covers, crashSafe, type Snapshot } from "../snapshot.ts";
import type { TopicFilter } from "../topic.ts";
import type { TailWindow } from "./tail-queue.ts";

/** Everything that is visible now and not in `since`. */
export interface LiveRequest {
  readonly since: Snapshot;
  readonly epoch: Epoch;
  /** Lower bounds on ids, as of a page. */
  readonly mainBound: bigint;
  readonly lateBound: bigint;
  /** Null: of all topics. */
  readonly topicIds: readonly number[] | null;
  readonly topicsSince: Snapshot;
  /** Whether to ask the server who it is: while a connection lasts it stays the same. */
  readonly identify: boolean;
  readonly eventsMax: number;
  readonly bytesMax: number;
}

export interface LiveRead {
  readonly page: Page;
  /** What the page saw. */
  readonly current: Snapshot;
  /** Not older than the page, nor than the locks under which it was read: what it lacks for retention is in here. */
  readonly news: News;
}

/** To the implementer: one round trip. Errors as of {@link Log}. */
export interface LiveLog {
  readonly read: (request: LiveRequest) => Promise<LiveRead>;
}

export interface TailReaderPorts {
  readonly log: Log;
  readonly live: LiveLog;
  readonly clock: Clock;
}

export interface TailReaderOptions {
  readonly pageEventsMax: number;
  readonly pageBytesMax: number;
}

/** `again`: ask again at once; `nothing`: nothing is new; `odd`: members have to see for themselves. */
export type TailStep = TailWindow | "again" | "nothing" | "odd";

/** How long it goes on with the same bounds: they follow the log from segment to segment. */
const boundsMs = 10_000;
/** How many live reads in a row are asked again for new topics. */
const outgrownMax = 2;

const wantsSame = (a: TopicFilter, b: TopicFilter): boolean =>
  (a.all && b.all) || new Set(a.patterns).symmetricDifference(new Set(b.patterns)).size === 0;

export class TailReader {
  readonly #ports: TailReaderPorts;
  readonly #options: TailReaderOptions;
  readonly #epoch: Epoch;
  #filter: TopicFilter;
  #topics: WantedTopics;
  /** The newest news, and all topics up to them: another filter finds its own among these. */
  #news: News | null = null;
  readonly #found = new Map<number, NewTopic>();
  /** How many live reads in a row found topics that they had not asked for. */
  #outgrown = 0;
  /** A new object for each place. */
  #at: Cursor;
  /** Of a place it has been at: weaker than those of where it stands, and good enough to leave out segments. */
  #bounds: Bounds = { main: null, late: null };
  #boundedUntil = 0;
  /** Set while it is more than a page behind. */
  #pages: Pages | null = null;

  constructor(
    ports: TailReaderPorts,
    options: TailReaderOptions,
    { epoch, filter, at }: { readonly epoch: Epoch; readonly filter: TopicFilter; readonly at: Cursor },
  ) {
    this.#ports = ports;
    this.#options = options;
    this.#epoch = epoch;
    this.#filter = filter;
    this.#topics = makeWantedTopics(filter);
    this.#at = at;
  }

  at(): Cursor {
    return this.#at;
  }

  /** Whether more is known to be there: it does not wait for a hint then. */
  isBehind(): boolean {
    return this.#pages !== null;
  }

  /** Goes on with another filter. Only at rest, and not during a read: the pages of one window are of one filter. */
  want(filter: TopicFilter): void {
    if (wantsSame(filter, this.#filter)) return;
    this.#filter = filter;
    this.#topics = makeWantedTopics(filter);
    if (this.#news !== null) this.#topics.learn({ ...this.#news, topics: [...this.#found.values()] });
    // Behind, a live read would read all that is new, only to learn that it is more than a page.
    if (this.#pages !== null) this.#pages = this.#pagesFromHere();
  }

  async read(): Promise<TailStep> {
    return this.#pages === null ? await this.#readLive() : await this.#readPage(this.#pages);
  }

  async #readLive(): Promise<TailStep> {
    const at = this.#at;
    const wanted = this.#topics.ids()?.length;
    const { page, current, news } = await this.#request(at.seen);
    const isSame = news.epoch.isRunning && news.epoch.newest.id === this.#epoch.id;
    if (!isSame || !covers(current, at.seen)) return "odd";
    if (page.more) return await this.#readFirstPage();
    this.#learn(news);
    // The page was not asked for topics that are new.
    if (this.#topics.ids()?.length !== wanted) {
      this.#outgrown += 1;
      return this.#outgrown > outgrownMax ? await this.#readFirstPage() : "again";
    }
    this.#outgrown = 0;
    if (news.purge > at.purge && (await this.#removedSomething(at))) return "odd";
    const seen = crashSafe(current, at.seen, news.newestXid);
    const end: Cursor = { ...at, purge: news.purge, seen };
    if (sameRest(end, at) && end.purge === at.purge) return "nothing";
    this.#at = end;
    return { start: at, end, events: nameRows(page, this.#topics) };
  }

  #learn(news: News): void {
    this.#topics.learn(news);
    this.#news = news;
    for (const topic of news.topics) this.#found.set(topic.id, topic);
  }

  /** At once: were it to be asked again, it might be asked for another filter each time, and come to no page. */
  async #readFirstPage(): Promise<TailStep> {
    this.#pages = this.#pagesFromHere();
    return await this.#readPage(this.#pages);
  }

  #pagesFromHere(): Pages {
    const options = { ...this.#options, filter: this.#filter, epoch: this.#epoch };
    return makePages(this.#ports.log, this.#at, options);
  }

  async #readPage(pages: Pages): Promise<TailStep> {
    const start = this.#at;
    const page = await pages.fetch(true);
    if (page !== null && page.gap.length > 0) return "odd";
    if (page === null || (page.isNear && page.end.window === null)) this.#pages = null;
    if (page === null) return "again";
    this.#at = page.end;
    return { start, end: page.end, events: page.events };
  }

  async #request(since: Snapshot): Promise<LiveRead> {
    const { log, live, clock } = this.#ports;
    const identify = clock.now() >= this.#boundedUntil;
    if (identify) {
      this.#bounds = await log.bounds(this.#epoch, since);
      this.#boundedUntil = clock.now() + boundsMs;
    }
    const floor = this.#epoch.firstId - 1n;
    return await live.read({
      since,
      epoch: this.#epoch,
      mainBound: this.#bounds.main?.lastId ?? floor,
      lateBound: this.#bounds.late?.lastId ?? floor,
      topicIds: this.#topics.ids(),
      topicsSince: this.#topics.since(),
      identify,
      eventsMax: this.#options.pageEventsMax,
      bytesMax: this.#options.pageBytesMax,
    });
  }

  async #removedSomething(at: Cursor): Promise<boolean> {
    const purged = await this.#ports.log.purgedTopics(this.#epoch, at.purge, this.#topics.ids());
    return gapOf(purged, at).length > 0;
  }
}
