//! The events of the benchmark: about 220 bytes of JSON, 20 topics, 1,000 keys, the same ones for the same seed, made
//! before any clock starts. Each says which one it is, so that whoever receives it can tell what it should hold.

import { seededRandom } from "../test/support/seed.ts";

export const topicCount = 20;
export const keyCount = 1_000;

/** What an event carries. */
export interface Order {
  /** Counts from 0 over all events of the log: which event this is. */
  readonly n: number;
  readonly customer: string;
  readonly product: string;
  readonly quantity: number;
  readonly cents: number;
  readonly isGift: boolean;
  readonly note: string;
}

/** An event as it is given to the publisher. */
export interface Draft {
  readonly topic: string;
  readonly key: string;
  readonly type: string;
  readonly data: Order;
}

export const topicNames: readonly string[] = Array.from(
  { length: topicCount },
  (_, n) => `orders.region-${n}`,
);
const keyNames: readonly string[] = Array.from({ length: keyCount }, (_, n) => `customer-${n}`);
const products = ["bread", "butter", "cheese", "apples", "olives", "coffee", "paper", "candles"];
const letters = "abcdefghijklmnopqrstuvwxyz ";

/** 0 to 999, of `customer-42`; anything else is not a key of ours. */
export const keyNumber = (key: string | null): number => Number(key?.slice("customer-".length) ?? Number.NaN);

export interface EventFactory {
  /** The n-th event; of the publisher whose keys it may use. */
  readonly draft: (n: number, publisher?: number) => Draft;
}

const bodiesMax = 4_096;

/**
 * @param publishers how many share the keys: each has its own, so that the order of a key is the order of its publisher
 */
export const makeEventFactory = (publishers = 1, seed = 1): EventFactory => {
  const chance = seededRandom(seed);
  const keysEach = Math.floor(keyCount / publishers);
  const bodies = Array.from({ length: bodiesMax }, () => ({
    key: chance.integer(0, keysEach - 1),
    customer: `${chance.pick(["Ada", "Blaise", "Carl", "Dorothy", "Emmy", "Grace"])} ${chance.integer(1_000, 9_999)}`,
    product: chance.pick(products),
    quantity: chance.integer(1, 99),
    cents: chance.integer(100, 999_999),
    isGift: chance.chance(0.5),
    note: Array.from({ length: 112 }, () => letters[chance.integer(0, letters.length - 1)]).join(""),
  }));
  return {
    draft: (n, publisher = 0) => {
      const body = bodies[n % bodiesMax];
      if (body === undefined) throw new RangeError(`no event has the number ${n}`);
      const { key: within, customer, product, quantity, cents, isGift, note } = body;
      const key = publisher * keysEach + within;
      return {
        topic: topicNames[key % topicCount] ?? "",
        key: keyNames[key] ?? "",
        type: "OrderPlaced",
        data: { n, customer, product, quantity, cents, isGift, note },
      };
    },
  };
};

/** Which publisher publishes the n-th of `total` events, when each has a stretch of them. */
export const publisherOf = (n: number, total: number, publishers: number): number =>
  Math.min(publishers - 1, Math.floor(n / Math.ceil(total / publishers)));

/** All of them, in order; those of one publisher lie together. */
export const makeDrafts = (total: number, publishers = 1, seed = 1): readonly Draft[] => {
  const factory = makeEventFactory(publishers, seed);
  return Array.from({ length: total }, (_, n) => factory.draft(n, publisherOf(n, total, publishers)));
};

/** In lists of `size`, the last one shorter. */
export const chunksOf = <T>(items: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );

/** What each publisher publishes, in lists of `size`. */
export const listsOf = (
  drafts: readonly Draft[],
  publishers: number,
  size: number,
): readonly (readonly (readonly Draft[])[])[] =>
  Array.from({ length: publishers }, (_, publisher) =>
    chunksOf(
      drafts.filter(({ data: { n } }) => publisherOf(n, drafts.length, publishers) === publisher),
      size,
    ),
  );
