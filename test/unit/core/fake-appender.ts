//! An appender with the memory that publish_batch has: it knows each publisher's last batch.

import { PgstreamError } from "../../../src/core/errors.ts";
import type { AppendBatch, EventAppender } from "../../../src/core/publish/append-until-known.ts";

type Outcome =
  /** Committed and answered. */
  | "answer"
  /** Committed, but the answer is lost. */
  | "lose answer"
  /** The connection breaks before anything is written. */
  | "lose request"
  /** Never answers. */
  | "hang";

export interface FakeAppender extends EventAppender {
  readonly calls: AppendBatch[];
  /** The ids and events that are committed, in order. */
  readonly committed: { readonly id: bigint; readonly data: string; readonly topic: string }[];
  /** What happens to the next calls; after them all are answered. */
  readonly next: (...outcomes: (Outcome | PgstreamError)[]) => void;
  /** Holds all calls until released. */
  readonly hold: () => () => void;
  readonly forget: () => void;
}

const lost = (): PgstreamError =>
  new PgstreamError("database_unavailable", "the connection broke", { retryable: true });

export const makeFakeAppender = (): FakeAppender => {
  const calls: AppendBatch[] = [];
  const committed: FakeAppender["committed"] = [];
  const outcomes: (Outcome | PgstreamError)[] = [];
  const remembered = new Map<string, { readonly number: bigint; readonly ids: bigint[] }>();
  let gate: Promise<void> = Promise.resolve();

  const write = ({ publisher, number, events }: AppendBatch): readonly bigint[] => {
    const last = remembered.get(publisher) ?? { number: 0n, ids: [] };
    if (last.number === number) return last.ids;
    if (last.number !== number - 1n)
      throw new PgstreamError("publish_unknown", "this publisher is forgotten");
    if (events.some((event) => event.data === '"bad"')) {
      throw new PgstreamError("invalid_event", "one of them is bad");
    }
    const ids = events.map(({ data, topic }) => {
      const id = BigInt(committed.length + 1);
      committed.push({ id, data, topic });
      return id;
    });
    remembered.set(publisher, { number, ids });
    return ids;
  };

  return {
    calls,
    committed,
    next: (...more) => {
      outcomes.push(...more);
    },
    hold: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      gate = promise;
      return resolve;
    },
    forget: () => remembered.clear(),
    append: async (batch) => {
      calls.push(batch);
      await gate;
      const outcome = outcomes.shift() ?? "answer";
      if (outcome instanceof PgstreamError) throw outcome;
      if (outcome === "hang") return await new Promise<never>(() => {});
      if (outcome === "lose request") throw lost();
      const ids = write(batch);
      if (outcome === "lose answer") throw lost();
      return ids;
    },
  };
};
