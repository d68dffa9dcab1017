//! A log that takes its time: ids are drawn, events become visible and answers arrive at moments of their own, in an order
//! that chance decides. It breaks in every way that a database breaks, and notes when somebody's order is lost.

import { PgstreamError } from "../../../src/core/errors.ts";
import type { EncodedEvent } from "../../../src/core/event.ts";
import type { AppendBatch, EventAppender } from "../../../src/core/publish/append-until-known.ts";
import type { Random } from "../../support/seed.ts";

export interface CommittedEvent {
  readonly id: bigint;
  readonly orderKey: string;
  readonly data: string;
}

export interface SlowLog extends EventAppender {
  /** In the order in which they became visible. */
  readonly committed: CommittedEvent[];
  /** Events of one key that were under way at the same time. */
  readonly overlaps: string[];
  /** Lets one of those that wait go on; false when none does. */
  readonly step: () => boolean;
  /** What happened how often. */
  readonly counts: Map<string, number>;
}

export const orderKeyOf = ({ topic, key }: Pick<EncodedEvent, "topic" | "key">): string =>
  `${topic}/${key ?? ""}`;

const lost = (): PgstreamError =>
  new PgstreamError("database_unavailable", "the connection broke", { retryable: true });

export const makeSlowLog = (random: Random, troubleProbability: number): SlowLog => {
  const committed: CommittedEvent[] = [];
  const overlaps: string[] = [];
  const counts = new Map<string, number>();
  const waiting: (() => void)[] = [];
  const underWay = new Map<string, AppendBatch>();
  const remembered = new Map<string, { readonly number: bigint; readonly ids: readonly bigint[] }>();
  let lastId = 0n;
  let out = 0;

  const count = (what: string): void => {
    counts.set(what, (counts.get(what) ?? 0) + 1);
  };
  const pause = async (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.push(resolve);
    await promise;
  };
  const trouble = (what: string, error: () => PgstreamError): void => {
    if (!random.chance(troubleProbability)) return;
    count(what);
    throw error();
  };
  /** Draws ids, and makes the events visible a while later, or not. */
  const write = async (batch: AppendBatch): Promise<readonly bigint[]> => {
    const keys = new Set(batch.events.map(orderKeyOf));
    for (const key of keys) {
      if (underWay.has(key)) overlaps.push(key);
      underWay.set(key, batch);
    }
    try {
      const ids = batch.events.map(() => (lastId += 1n));
      await pause();
      trouble("rolled back", lost);
      for (const [at, event] of batch.events.entries()) {
        committed.push({ id: ids[at] ?? 0n, orderKey: orderKeyOf(event), data: event.data });
      }
      remembered.set(batch.publisher, { number: batch.number, ids });
      return ids;
    } finally {
      for (const key of keys) underWay.delete(key);
    }
  };

  const append = async (batch: AppendBatch): Promise<readonly bigint[]> => {
    await pause();
    trouble("request lost", lost);
    trouble("denied", () => new PgstreamError("permission_denied", "not now"));
    // Not the first batch: a publisher that was forgotten in doubt about that one cannot be told from a new one.
    if (batch.number > 1n && random.chance(troubleProbability / 4)) remembered.delete(batch.publisher);
    const last = remembered.get(batch.publisher) ?? { number: 0n, ids: [] };
    if (last.number !== batch.number && last.number !== batch.number - 1n) {
      count("forgotten");
      throw new PgstreamError("publish_unknown", "this publisher is forgotten");
    }
    if (batch.events.some((event) => event.data.includes("bad"))) {
      count("refused");
      throw new PgstreamError("invalid_event", "one of them is bad");
    }
    const ids = last.number === batch.number ? last.ids : await write(batch);
    await pause();
    trouble("answer lost", lost);
    return ids;
  };

  return {
    committed,
    overlaps,
    counts,
    step: () => {
      const [next] = waiting.splice(random.integer(0, Math.max(waiting.length - 1, 0)), 1);
      next?.();
      return next !== undefined;
    },
    append: async (batch) => {
      out += 1;
      if (out > 1) count(`${out} lanes out`);
      try {
        return await append(batch);
      } finally {
        out -= 1;
      }
    },
  };
};
