//! The shared tail: subscriptions of one process that have caught up read the log together.
//!
//! It reads window after window, `at → until`, each with its events in one round trip, and hands every window to all
//! members, each of which takes the windows at its own pace. Whoever lags too far behind is put out, and so is everybody
//! when anything is out of the ordinary: a window longer than a page, a purge that removed events, another epoch, a lost
//! connection. Those put out read on alone from their own cursors, where all of that is dealt with: see follower.ts.
//!
//! A window is for those who were members before it was read, since it holds what they wanted. Whoever joined
//! meanwhile gets a mark: a window without events that starts and ends where this one ends.

import { messageOf } from "./errors.ts";
import { gapOf } from "./gap.ts";
import type { Bounds, Epoch, Log, News, Page } from "./log.ts";
import type { Clock, Logger } from "./ports.ts";
import { covers, crashSafe, equals, type Snapshot } from "./snapshot.ts";
import { type Membership, type TailMember, TailQueue, type TailWindow } from "./tail-queue.ts";
import type { TopicFilter } from "./topic.ts";
import type { WakeupFlag } from "./wakeup-flag.ts";
import { makeWantedTopics, nameRows, type WantedTopics } from "./wanted-topics.ts";

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
  /** Told by a later statement. */
  readonly news: News;
}

/** To the implementer: one round trip. Errors as of {@link Log}. */
export interface LiveLog {
  readonly read: (request: LiveRequest) => Promise<LiveRead>;
}

export interface Tail {
  /** Null when it cannot be joined now: it is of another epoch, knows of newer purges, or has just failed. */
  readonly join: (member: TailMember) => Membership | null;
}

export interface TailPorts {
  readonly log: Pick<Log, "bounds" | "purgedTopics">;
  readonly live: LiveLog;
  readonly wakeups: WakeupFlag;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface TailOptions {
  readonly pageEventsMax: number;
  readonly pageBytesMax: number;
  /** How far a member may lag behind. */
  readonly lagEventsMax: number;
  readonly lagBytesMax: number;
  /** How long nobody may join after it failed. */
  readonly pauseMs: number;
}

/** Where it stands. A new object for each place, so that a read can tell whether it is still wanted. */
interface Place {
  readonly epoch: Epoch;
  readonly seen: Snapshot;
  readonly purge: bigint;
}

/** How long it goes on with the same bounds: they follow the log from segment to segment. */
const boundsMs = 10_000;

/** With nobody in it, it waits to be joined. */
const unusedWaitMs = 60_000;

const anyOf = (filters: readonly TopicFilter[]): TopicFilter => ({
  patterns: [...new Set(filters.flatMap(({ patterns }) => patterns))],
  all: filters.some(({ all }) => all),
  matches: (name) => filters.some((filter) => filter.matches(name)),
});

export class SharedTail implements Tail {
  readonly #ports: TailPorts;
  readonly #options: TailOptions;
  readonly #members = new Set<TailQueue>();
  #at: Place | null = null;
  /** Everything that anybody wants, and perhaps more: of members that have left. */
  #filter: TopicFilter = anyOf([]);
  #topics: WantedTopics = makeWantedTopics(this.#filter);
  #topicsEpoch: string | null = null;
  /** Of a place it has been at: weaker than those of where it stands, and good enough to leave out segments. */
  #bounds: Bounds = { main: null, late: null };
  #boundedUntil = 0;
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
    if (this.#members.size === 0) this.#startAt(member);
    const at = this.#at;
    if (at === null || at.epoch.id !== member.epoch.id || at.purge > member.purge) return null;
    const { lagEventsMax, lagBytesMax } = this.#options;
    const limits = { eventsMax: lagEventsMax, bytesMax: lagBytesMax };
    const queue: TailQueue = new TailQueue(member, limits, {
      onEmpty: () => {
        if (this.#isPutOff) wakeups.raise();
      },
      onClose: () => {
        this.#members.delete(queue);
        // Perhaps it was the only one that all waited for.
        if (this.#isPutOff) wakeups.raise();
      },
    });
    queue.push({ since: at.seen, until: at.seen, purge: at.purge, events: [] });
    this.#members.add(queue);
    this.#want(member.filter);
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

  /** The first one in decides where it stands. */
  #startAt({ epoch, seen, purge, filter }: TailMember): void {
    if (this.#topicsEpoch !== epoch.id) this.#topics = makeWantedTopics(this.#filter);
    this.#topicsEpoch = epoch.id;
    this.#boundedUntil = 0;
    this.#at = { epoch, seen, purge };
    // Topics that only others wanted are not read any more.
    if (filter.patterns.join() !== this.#filter.patterns.join()) this.#filter = anyOf([]);
  }

  #want(filter: TopicFilter): void {
    const known = new Set(this.#filter.patterns);
    if (filter.patterns.every((pattern) => known.has(pattern))) return;
    this.#filter = anyOf([this.#filter, filter]);
    this.#topics = makeWantedTopics(this.#filter);
  }

  /**
   * Reads one window. Answers whether to read it again, at once. Behind a window it waits for the next hint: what is
   * committed after the read gives one.
   */
  async #advance(): Promise<boolean> {
    const at = this.#at;
    const topics = this.#topics;
    const present = [...this.#members];
    if (at === null || present.length === 0) return false;
    // While all have something to handle, what comes is better read at once, later: in fewer, larger windows.
    this.#isPutOff = present.every((queue) => queue.first() !== null);
    if (this.#isPutOff) return false;
    const wanted = topics.ids()?.length;
    const { page, current, news } = await this.#read(at, topics);
    // Everybody left meanwhile, and somebody came at another place.
    if (this.#at !== at) return true;
    if (!this.#isOrdinary(at, news, current) || page.more) return this.#disband();
    topics.learn(news);
    // The page was not asked for topics that are new.
    if (topics.ids()?.length !== wanted) return true;
    if (news.purge > at.purge && (await this.#removedSomething(at, topics))) return this.#disband();
    if (this.#at !== at) return true;
    const until = crashSafe(current, at.seen, news.newestXid);
    if (equals(until, at.seen) && news.purge === at.purge) return false;
    this.#at = { epoch: at.epoch, seen: until, purge: news.purge };
    this.#hand({ since: at.seen, until, purge: news.purge, events: nameRows(page, topics) }, present);
    return false;
  }

  async #read({ epoch, seen }: Place, topics: WantedTopics): Promise<LiveRead> {
    const { log, live, clock } = this.#ports;
    const identify = clock.now() >= this.#boundedUntil;
    if (identify) {
      this.#bounds = await log.bounds(epoch, seen);
      this.#boundedUntil = clock.now() + boundsMs;
    }
    const floor = epoch.firstId - 1n;
    return await live.read({
      since: seen,
      epoch,
      mainBound: this.#bounds.main?.lastId ?? floor,
      lateBound: this.#bounds.late?.lastId ?? floor,
      topicIds: topics.ids(),
      topicsSince: topics.since(),
      identify,
      eventsMax: this.#options.pageEventsMax,
      bytesMax: this.#options.pageBytesMax,
    });
  }

  #isOrdinary({ epoch, seen }: Place, news: News, current: Snapshot): boolean {
    return news.epoch.isRunning && news.epoch.newest.id === epoch.id && covers(current, seen);
  }

  async #removedSomething({ epoch, seen, purge }: Place, topics: WantedTopics): Promise<boolean> {
    const purged = await this.#ports.log.purgedTopics(epoch, purge, topics.ids());
    return gapOf(purged, { epoch: epoch.id, purge, seen, window: null }).length > 0;
  }

  #hand(window: TailWindow, present: readonly TailQueue[]): void {
    const { until, purge } = window;
    const mark: TailWindow = { since: until, until, purge, events: [] };
    for (const queue of this.#members) queue.push(present.includes(queue) ? window : mark);
  }

  /** Puts everybody out; nobody is left to go on for. */
  #disband(): false {
    for (const queue of this.#members) queue.close();
    this.#at = null;
    return false;
  }
}
