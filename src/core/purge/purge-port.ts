//! The log as a purger needs it. Mirrors the grant of pgstream_purger: EXECUTE on these functions and nothing else.

/** A closed segment, every event of which is older than its retention. */
export interface ExpiredSegment {
  readonly segment: number;
  /** The position that all its events are within: opaque. */
  readonly floor: string;
  readonly openedAt: Date;
  readonly closedAt: Date | null;
  /** Since it was closed, by the database's clock; null when that is not known. */
  readonly closedAgoMs: number | null;
  /** Null when they were not counted, which takes a while. */
  readonly events: bigint | null;
}

/** A topic with a retention of its own, shorter than everybody's, that may have something to trim. */
export interface ExpiredTopic {
  readonly topicId: number;
  readonly name: string;
  /** Null when they were not counted; else at least one. */
  readonly events: bigint | null;
  /** Between which positions: opaque. */
  readonly since: string;
  readonly floor: string;
}

/** A purge that readers can see: what it is about goes, and who had not read it is told. */
export interface AnnouncedPurge {
  readonly id: bigint;
  readonly events: bigint;
}

/** An announcement whose purger has not finished, or was killed. One of the two is null. */
export interface UnfinishedPurge extends AnnouncedPurge {
  readonly segment: number | null;
  readonly topicId: number | null;
}

export interface RollLimits {
  readonly ageMsMax: number;
  readonly bytesMax: number;
}

/**
 * To the implementer: each call is one statement and one transaction, committed when it resolves. What waits for a lock
 * waits a tenth of a second at most and then fails with `database_error` (retryable). Any number of purgers may call
 * any of it at the same time.
 */
export interface Purging {
  /** Whether this purger is the one at work: it stays so as long as its connection lives. */
  readonly lead: () => Promise<boolean>;
  /** Takes a tick when ids were handed out since the last one; answers whether it did. */
  readonly tick: () => Promise<boolean>;
  /** Attaches the segments that must be there in advance; answers how many. */
  readonly prepareSegments: () => Promise<number>;
  /** Moves on to the next segment when the current one is old or large enough; answers whether it did. */
  readonly rollSegment: (limits: RollLimits) => Promise<boolean>;
  /** Not announced yet, oldest first. */
  readonly expiredSegments: (
    retentionMs: number,
    options: { readonly counted: boolean },
  ) => Promise<readonly ExpiredSegment[]>;
  /** Null: something newer came into the segment. */
  readonly announceSegmentPurge: (expired: ExpiredSegment) => Promise<AnnouncedPurge | null>;
  /** False: something newer came into the segment, and the announcement was taken back. Null: another purger was faster. */
  readonly emptySegment: (purge: bigint) => Promise<boolean | null>;
  readonly expiredTopics: (
    retentionMs: number,
    options: { readonly counted: boolean },
  ) => Promise<readonly ExpiredTopic[]>;
  /** Null: nothing of it is old enough, which is remembered, or another purger was faster. */
  readonly announceTopicPurge: (expired: ExpiredTopic) => Promise<AnnouncedPurge | null>;
  /** Removes at most so many events; answers how many, fewer when it is done. */
  readonly trimTopic: (purge: bigint, eventsMax: number) => Promise<number>;
  readonly unfinishedPurges: () => Promise<readonly UnfinishedPurge[]>;
  /** Forgets at most so many ticks, keys and publishers each; answers how many rows went. */
  readonly forget: (retentionMs: number, rowsMax: number) => Promise<number>;
}
