//! Who may do what: the only place that says it. The migrator makes the database agree with it at every start, and the
//! test of privileges walks it. Whatever is not named here is forbidden; the owner of the schema may do everything.

/** Cluster-wide roles without login. An application's own login becomes a member of those it needs. */
export const groups = ["pgstream_producer", "pgstream_consumer", "pgstream_purger"] as const;
export type Group = (typeof groups)[number];

export type Verb = "select" | "execute";

/** Names inside schema pgstream; of a function every overload. USAGE on the schema goes with it. */
export type Access = Readonly<Record<Verb, readonly string[]>>;

export const access: Readonly<Record<Group, Access>> = {
  pgstream_producer: {
    select: [],
    // tick() goes out with the publisher's notifications; it writes only when ids have moved on.
    execute: ["publish", "publish_batch", "tick"],
  },
  pgstream_consumer: {
    // Of a partitioned table the parent is enough.
    select: ["events", "event_ids", "topics", "ticks", "epochs", "segments", "purges", "purged_topics"],
    execute: [],
  },
  pgstream_purger: {
    select: [],
    execute: [
      "tick",
      "prepare_segments",
      "roll_segment",
      "expired_segments",
      "announce_segment_purge",
      "empty_segment",
      "expired_topics",
      "announce_topic_purge",
      "trim_topic",
      "unfinished_purges",
      "forget",
    ],
  },
};
