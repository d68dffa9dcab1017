//! What a mixed run comes to: whether everybody got a share, and its rows.

import type { Goal, Row, Usage } from "../context.ts";

/** Whoever got less than this share of what another of its kind got has starved. */
const starvedShare = 0.5;
/** Lag is bounded when whoever is last is done so soon after the last publish: 5 s after a minute. */
const drainMsMax = (forMs: number): number => Math.max(500, forMs / 12);

export interface Outcome {
  readonly forMs: number;
  readonly events: number;
  readonly eventsPerSecond: number;
  readonly usage: Usage;
  /** How long the last subscriber needed after the last publish. */
  readonly drainMs: number;
  /** By each publisher, every event of it acknowledged. */
  readonly published: readonly number[];
  readonly subscribers: readonly {
    /** When publishing ended, before anybody waited. */
    readonly handled: number;
    readonly lagP50Ms: number;
    readonly lagP99Ms: number;
    readonly lagMsMax: number;
  }[];
}

const isFair = (counts: readonly number[]): boolean =>
  Math.min(...counts) >= starvedShare * Math.max(...counts);

const fairness = ({ published, subscribers, drainMs, forMs }: Outcome): Goal => ({
  text: "nobody starves, lag bounded",
  isReached:
    isFair(published) && isFair(subscribers.map(({ handled }) => handled)) && drainMs <= drainMsMax(forMs),
});

const single = (value: number) => ({ value, min: value, max: value });

export const rowsOf = (flatOut: Outcome, half: Outcome, latency: Row | undefined): readonly Row[] => {
  const worstMs = Math.max(...half.subscribers.map(({ lagP99Ms }) => lagP99Ms));
  const ratio = latency === undefined ? null : worstMs / latency.pgstream.value;
  const atMost = (most: number): Goal | null =>
    ratio === null ? null : { text: `≤ ${most} ×`, isReached: ratio <= most };
  return [
    {
      measure: "mixed, 4 publishers and 3 subscribers, flat out",
      unit: "events/s",
      pgstream: single(flatOut.eventsPerSecond),
      limit: null,
      limitIs: "–",
      ratio: null,
      must: fairness(flatOut),
      wanted: null,
      usage: flatOut.usage,
      limitUsage: null,
      amount: flatOut.events,
      details: { ...flatOut },
    },
    {
      measure: "mixed at half that rate, worst lag p99",
      unit: "ms",
      pgstream: single(worstMs),
      limit: latency?.pgstream ?? null,
      limitIs: latency === undefined ? "latency p99 (not measured in this run)" : "latency p99",
      ratio: ratio === null ? null : single(ratio),
      must: atMost(10),
      wanted: atMost(4),
      usage: half.usage,
      limitUsage: null,
      amount: half.events,
      details: { ...half },
    },
  ];
};
