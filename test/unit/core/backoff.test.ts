import { expect, test } from "bun:test";

import { backoffMs } from "../../../src/core/backoff.ts";
import { makeRandom } from "../../support/seed.ts";

const backoff = { delayMsMin: 50, delayMsMax: 5_000 };

test("every wait lies between the least and the doubled ceiling, at most the greatest, however often it failed", () => {
  const { random } = makeRandom("backoff");
  for (const attempt of [0, 1, 2, 5, 10, 31, 1_000, Number.MAX_SAFE_INTEGER]) {
    for (let n = 0; n < 500; n += 1) {
      const ms = backoffMs(attempt, backoff, random);
      expect(ms).toBeGreaterThanOrEqual(50);
      expect(ms).toBeLessThanOrEqual(Math.min(5_000, 50 * 2 ** (attempt + 1)));
    }
  }
});

test("waits are spread over the whole range, so that a crowd does not return together", () => {
  expect(backoffMs(20, backoff, () => 0)).toBe(50);
  expect(backoffMs(20, backoff, () => 0.5)).toBe(2_500);
  expect(backoffMs(20, backoff, () => 1 - Number.EPSILON)).toBe(5_000);
  expect(backoffMs(0, backoff, () => 0.9)).toBe(90);
});
