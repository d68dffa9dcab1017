//! Comparing the log with receipts, where there are more of one kind than are listed.

import { expect, test } from "bun:test";

import { parseSnapshot } from "../../../src/core/snapshot.ts";
import { compare } from "../../../src/core/verify.ts";

async function* each<T>(values: readonly T[]): AsyncGenerator<T> {
  await Promise.resolve();
  yield* values;
}

const none = async (): Promise<ReadonlySet<bigint>> => await Promise.resolve(new Set());

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
  expect(result.extra).toEqual({ count: 2, ids: extra });
  expect(Math.max(...asked)).toBeLessThanOrEqual(10_000);
});

test("what is extra is counted, and listed up to ten thousand", async () => {
  const ids = Array.from({ length: 10_500 }, (_, n) => BigInt(n + 1));
  const result = await compare(null, {
    logged: each([]),
    receipts: each(ids),
    accounted: none,
  });
  expect(result.extra).toMatchObject({ count: 10_500, ids: ids.slice(0, 10_000) });
});

test("is handled: what the cursor has seen, and of its window what lies up to where it is; whatever has a receipt", async () => {
  const xids = [5n, 12n, 5n, 12n, 25n];
  const logged = xids.map((xid, index) => ({ id: BigInt(index + 1), xid, isOld: false }));
  const cursor = {
    epoch: "e",
    purge: 0n,
    seen: parseSnapshot("10:10:"),
    window: { until: parseSnapshot("20:20:"), after: 2n },
  };
  const without = await compare(cursor, { logged: each(logged), receipts: each([]), accounted: none });
  expect(without).toMatchObject({ matching: 0, missing: { ids: [1n, 2n, 3n] }, toCome: 2 });
  // Another subscription of the same store may be further on.
  const receipts = each(logged.map(({ id }) => id));
  expect(await compare(cursor, { logged: each(logged), receipts, accounted: none })).toMatchObject({
    matching: 3,
    missing: { count: 0 },
    toCome: 2,
  });
});

test("what commits late into the open window is not handled before the window's end has seen it", async () => {
  const logged = [{ id: 1n, xid: 12n, isOld: false }];
  const cursor = {
    epoch: "e",
    purge: 0n,
    seen: parseSnapshot("10:10:"),
    window: { until: parseSnapshot("12:20:12"), after: 2n },
  };
  const result = await compare(cursor, { logged: each(logged), receipts: each([]), accounted: none });
  expect(result).toMatchObject({ missing: { count: 0 }, toCome: 1 });
});

test("a receipt that is there twice is told, and one that may have expired is not missing", async () => {
  const logged = [1n, 2n, 3n].map((id) => ({ id, xid: 5n, isOld: id === 2n }));
  const cursor = { epoch: "e", purge: 0n, seen: parseSnapshot("10:10:"), window: null };
  const receipts = each([1n, 1n, 1n, 3n]);
  expect(await compare(cursor, { logged: each(logged), receipts, accounted: none })).toMatchObject({
    matching: 2,
    missing: { count: 0 },
    extra: { count: 0 },
    duplicate: { count: 2, ids: [1n, 1n] },
    toCome: 0,
    expired: 1,
  });
});
