//! Comparing the log with receipts, where there are more of one kind than are listed.

import { expect, test } from "bun:test";

import { compare } from "../../../src/core/verify.ts";

async function* each<T>(values: readonly T[]): AsyncGenerator<T> {
  await Promise.resolve();
  yield* values;
}

test("an extra receipt is found behind any number of those whose events were purged", async () => {
  const purged = Array.from({ length: 25_000 }, (_, n) => BigInt(n + 1));
  const extra = [30_000n, 30_001n];
  const asked: number[] = [];
  const result = await compare(null, {
    logged: each([]),
    receipts: each([...purged, ...extra]),
    accounted: async (ids) => {
      asked.push(ids.length);
      return await Promise.resolve(new Set(ids.filter((id) => id <= 25_000n)));
    },
  });
  expect(result.extra).toEqual(extra);
  expect(Math.max(...asked)).toBeLessThanOrEqual(10_000);
});

test("what is extra is listed up to ten thousand", async () => {
  const ids = Array.from({ length: 10_500 }, (_, n) => BigInt(n + 1));
  const result = await compare(null, {
    logged: each([]),
    receipts: each(ids),
    accounted: async () => await Promise.resolve(new Set<bigint>()),
  });
  expect(result.extra).toEqual(ids.slice(0, 10_000));
});
