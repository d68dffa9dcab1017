//! Looks at every delivery: each event once, decoded to exactly what was published, in the order of its key. It costs some
//! 100 ns an event and runs within the clock, for pgstream and for the limit beside it alike.

import { DeliveryError } from "./context.ts";
import { type Draft, keyCount, keyNumber, type Order } from "./events.ts";

/** What every reader has in its hands, pgstream's and the raw one. */
export interface Delivered {
  readonly topic: string;
  readonly key: string | null;
  readonly data: unknown;
}

export interface Checker {
  /** @throws DeliveryError when it was delivered before, is not what was published, or comes too late for its key */
  readonly see: (event: Delivered) => void;
  readonly count: () => number;
  /** @throws DeliveryError when one is missing */
  readonly finish: () => void;
}

const isOrder = (data: unknown): data is Order => typeof data === "object" && data !== null && "n" in data;

const isSame = (it: Order, published: Order): boolean =>
  it.n === published.n &&
  it.customer === published.customer &&
  it.product === published.product &&
  it.quantity === published.quantity &&
  it.cents === published.cents &&
  it.isGift === published.isGift &&
  it.note === published.note;

/** What there was to deliver. */
export interface Published {
  /** The n-th event, undefined when there was none. */
  readonly draft: (n: number) => Draft | undefined;
  readonly total: () => number;
}

/** @param who names the reader in what is thrown */
export const makeChecker = (who: string, { draft: publishedOf, total }: Published): Checker => {
  let seen = new Uint8Array(1 << 16);
  const lastOfKey = new Float64Array(keyCount).fill(-1);
  let count = 0;
  const refuse = (what: string): never => {
    throw new DeliveryError(`${who}: ${what}, after ${count} events: no figure`);
  };
  const mark = (n: number): void => {
    if (n >= seen.length) {
      const larger = new Uint8Array(Math.max(n + 1, seen.length * 2));
      larger.set(seen);
      seen = larger;
    }
    if (seen[n] === 1) refuse(`event ${n} came twice`);
    seen[n] = 1;
  };
  return {
    see: ({ topic, key, data }) => {
      if (!isOrder(data)) return refuse(`altered: ${JSON.stringify(data).slice(0, 100)} was never published`);
      const { n } = data;
      const published = publishedOf(n);
      if (published === undefined || published.topic !== topic || published.key !== key) {
        return refuse(`altered: event ${n} on topic ${topic} with key ${key} was never published`);
      }
      if (!isSame(data, published.data)) return refuse(`altered: event ${n} is not what was published`);
      mark(n);
      const number = keyNumber(key);
      if (n < (lastOfKey[number] ?? -1)) {
        refuse(`out of order: event ${n} of key ${key} came after ${lastOfKey[number]}`);
      }
      lastOfKey[number] = n;
      count += 1;
    },
    count: () => count,
    finish: () => {
      const expected = total();
      if (count === expected) return;
      let missing = 0;
      while (seen[missing] === 1 || (missing < seen.length && publishedOf(missing) === undefined))
        missing += 1;
      refuse(`lost: ${expected - count} of ${expected} never came, the first of them is event ${missing}`);
    },
  };
};

/** For a list that was made before the clock started. */
export const checkerOf = (who: string, drafts: readonly Draft[]): Checker =>
  makeChecker(who, { draft: (n) => drafts[n], total: () => drafts.length });
