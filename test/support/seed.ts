//! Chance that can be had again: a generator from a seed that is printed, and can be given back by PGSTREAM_TEST_SEED.

export interface Random {
  readonly seed: number;
  /** In [0, 1). */
  readonly random: () => number;
  /** A whole number from `min` to `max`, both included. */
  readonly integer: (min: number, max: number) => number;
  /** True with this probability. */
  readonly chance: (probability: number) => boolean;
  /** @throws RangeError on an empty list */
  readonly pick: <T>(items: readonly T[]) => T;
  /** A copy in another order. */
  readonly shuffle: <T>(items: readonly T[]) => T[];
  /** A generator of its own, so that what one actor draws does not depend on how fast another is. */
  readonly fork: () => Random;
}

/** mulberry32: 32 bits of state, plenty for a schedule. */
export const seededRandom = (seed: number): Random => {
  let state = seed >>> 0;
  const random = (): number => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (min: number, max: number): number => min + Math.floor(random() * (max - min + 1));
  return {
    seed,
    random,
    integer,
    chance: (probability) => random() < probability,
    pick: <T>(items: readonly T[]): T => {
      if (items.length === 0) throw new RangeError("nothing to pick from");
      return items[integer(0, items.length - 1)] as T;
    },
    shuffle: <T>(items: readonly T[]): T[] => {
      const rest = [...items];
      return items.map(() => rest.splice(integer(0, rest.length - 1), 1)[0] as T);
    },
    fork: () => seededRandom(integer(0, 2 ** 32 - 1)),
  };
};

/**
 * The generator of a randomised test. Prints its seed, so that a failure can be had again.
 *
 * @throws Error when PGSTREAM_TEST_SEED is not a whole number
 */
export const makeRandom = (testName: string): Random => {
  const given = process.env["PGSTREAM_TEST_SEED"] ?? "";
  const seed = given === "" ? Math.floor(Math.random() * 2 ** 32) : Number(given);
  if (!Number.isSafeInteger(seed)) throw new Error(`PGSTREAM_TEST_SEED is not a whole number: ${given}`);
  console.log(`${testName}: PGSTREAM_TEST_SEED=${seed}`);
  return seededRandom(seed);
};
