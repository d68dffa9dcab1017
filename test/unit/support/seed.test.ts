import { expect, test } from "bun:test";

import { seededRandom } from "../../support/seed.ts";

const draw = (seed: number): unknown[] => {
  const random = seededRandom(seed);
  return [random.random(), random.integer(1, 6), random.shuffle([1, 2, 3, 4, 5]), random.fork().random()];
};

test("the same seed draws the same, another seed something else", () => {
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
});

test("integers reach both ends and shuffling loses nothing", () => {
  const random = seededRandom(1);
  const drawn = Array.from({ length: 1_000 }, () => random.integer(1, 3));
  expect(new Set(drawn)).toEqual(new Set([1, 2, 3]));
  expect(random.shuffle([1, 2, 3, 4]).toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
});

test("there is nothing to pick from an empty list", () => {
  expect(() => seededRandom(1).pick([])).toThrow(RangeError);
});
