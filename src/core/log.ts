//! The log as a reader needs it. Mirrors the grant of pgstream_consumer: SELECT.

import type { EventRow } from "./event.ts";
import type { Snapshot, Xid } from "./snapshot.ts";
import type { Topic } from "./topic.ts";

/** A stretch of history in which xids and ids only grow. */
export interface Epoch {
  readonly id: string;
  readonly number: number;
  /** Ids of this epoch start here. */
  readonly firstId: bigint;
  /** What was visible when it opened. */
  readonly snapshot: Snapshot;
}

export interface EpochState {
  /** The newest epoch that the log knows. */
  readonly newest: Epoch;
  /** Whether the server is still the one that it was opened on. False until the next publish opens a new one. */
  readonly isRunning: boolean;
}

export interface LookRequest {
  /** Where the reader stands, or will stand. */
  readonly since: Snapshot;
  readonly epoch: Epoch;
  /** A lower bound on ids of transactions from `since.xmax` on. */
  readonly bound: bigint;
  /** Topics made by transactions not visible in it are returned. */
  readonly topicsSince: Snapshot;
  /**
   * Whether a tick will be ahead of `since`, most likely: then the newest event is not asked for, which is to be looked
   * for in all segments behind the bound. A second look asks for it where it is wanted after all.
   */
  readonly expectsTick: boolean;
}

/** Every transaction whose xid is above `xid` has only ids above `lastId`. */
export interface Bound {
  readonly xid: Xid;
  readonly lastId: bigint;
}

/** With what a read that starts at a snapshot leaves out segments; each null when no tick is low enough. */
export interface Bounds {
  /** The highest tick whose xid is at most the snapshot's xmax. */
  readonly main: Bound | null;
  /** The highest tick whose xid is at most the least one not seen in it: for what may still commit late. */
  readonly late: Bound | null;
}

export interface NewTopic extends Topic {
  /** Of the transaction that made it. */
  readonly xid: Xid;
}

/** What there is besides events: taken in one statement, in one snapshot. */
export interface News {
  readonly epoch: EpochState;
  readonly current: Snapshot;
  /**
   * The greatest xid of an event visible in `current`, or committed since, not below `since.xmax`; null when there is
   * none, or when a look found the tick that it expected.
   */
  readonly newestXid: Xid | null;
  /** The newest purge announced; 0 when there is none. */
  readonly purge: bigint;
  /** Those that are visible in `current`, and were not in `topicsSince`. */
  readonly topics: readonly NewTopic[];
}

/** And where the next window may end. */
export interface Look extends News {
  /** The snapshot of one of the next ticks of the epoch that are ahead of `since`; null when none is. */
  readonly tick: Snapshot | null;
  /** No event visible in `tick` has an id above it. */
  readonly tickTop: bigint | null;
  readonly bounds: Bounds;
}

export interface PageRequest {
  readonly since: Snapshot;
  readonly until: Snapshot;
  /** Ids above this one. */
  readonly after: bigint;
  /** Running in `since`, seen in `until`. */
  readonly late: readonly Xid[];
  /** Lower bounds on the ids of late commits, and of the window's other events. */
  readonly lateBound: bigint;
  readonly mainBound: bigint;
  /** An upper bound on the ids of the whole window; null when none is known. */
  readonly top: bigint | null;
  /** Null: of all topics. */
  readonly topicIds: readonly number[] | null;
  readonly eventsMax: number;
  /**
   * What the page's data may weigh, but for its last event. A page may come without events, and then only says that there
   * is more.
   */
  readonly bytesMax: number;
}

export interface Page {
  /** Ascending by id. */
  readonly rows: readonly EventRow[];
  /** Whether the window may hold more. */
  readonly more: boolean;
}

/** The greatest ids of the two parts of a window; null for one that is empty. */
export interface WindowEnd {
  readonly late: bigint | null;
  readonly main: bigint | null;
  /** How many of the late part were left when it was asked. */
  readonly lateEvents: number;
}

/** What one purge removed of one topic. */
export interface PurgedTopic {
  readonly purge: bigint;
  readonly topic: string;
  readonly events: number;
  readonly firstXid: Xid;
  readonly lastXid: Xid;
  readonly firstId: bigint;
  readonly lastId: bigint;
  readonly floor: Snapshot;
  /** Whether a whole segment went; else the topic was trimmed. */
  readonly ofSegment: boolean;
  /** False while it is announced and may still be under way. */
  readonly done: boolean;
}

/**
 * To the implementer: calls go down one connection in the order they are made, each its own statement with its own
 * snapshot, so that a look called after a page is a later statement than the page. A standby is refused
 * (`standby`, retryable: the address may come to name the primary again); a lost connection or a passed deadline is
 * `database_unavailable` (retryable).
 */
export interface Log {
  readonly epoch: () => Promise<EpochState>;
  /** All epochs from this one on, null: from the first; ascending. Empty when the log has never known it. */
  readonly epochsSince: (id: string | null) => Promise<readonly Epoch[]>;
  /** What to bound the first look from `since` with: without it, that look opens every segment. */
  readonly bounds: (epoch: Epoch, since: Snapshot) => Promise<Bounds>;
  readonly look: (request: LookRequest) => Promise<Look>;
  /** The first page of a window, found by xid. */
  readonly firstPage: (request: PageRequest) => Promise<Page>;
  /** Where what is left of a window ends, found by xid. */
  readonly windowEnd: (request: PageRequest) => Promise<WindowEnd>;
  /** Another page of a window, found by id, up to and with `end`. */
  readonly nextPage: (request: PageRequest, end: WindowEnd) => Promise<Page>;
  /**
   * The greatest of the next some hundred thousand ids above `after`, up to `last`; null when there is none. What reads up to there ends
   * in time, whatever it wants.
   */
  readonly stepEnd: (after: bigint, last: bigint) => Promise<bigint | null>;
  /** What purges after `purge` removed of the topics, in the epoch. Null topics: of all. */
  readonly purgedTopics: (
    epoch: Epoch,
    purge: bigint,
    topicIds: readonly number[] | null,
  ) => Promise<readonly PurgedTopic[]>;
  readonly starts: LogStarts;
}

export interface Floor {
  readonly segments: { readonly snapshot: Snapshot; readonly lastId: bigint } | null;
  readonly purge: bigint;
}

/** Places to start from. */
export interface LogStarts {
  /**
   * What the latest segment purge of the epoch left: where it stood, and the last id it removed; null when there was
   * none. With the newest purge of any kind.
   */
  readonly floor: (epoch: Epoch) => Promise<Floor>;
  /** The newest tick, or the newest taken by `at`; null when there is none. */
  readonly tickBy: (epoch: Epoch, at: Date | null) => Promise<Snapshot | null>;
  /** Ticks around an id: one that sees no event from `id` on, and one that sees all of them below it that were committed. */
  readonly ticksAround: (
    epoch: Epoch,
    id: bigint,
  ) => Promise<{ readonly before: Snapshot | null; readonly after: Snapshot | null }>;
  /** The greatest id handed out so far. */
  readonly lastId: () => Promise<bigint>;
}
