import { expect, test } from "bun:test";

import type { Bound } from "../../../src/core/log.ts";
import { makeTickBounds } from "../../../src/core/read/tick-bounds.ts";
import { makeRandom } from "../../support/seed.ts";

/** What ticks look like: both numbers only grow. */
const ascendingTicks = (random: ReturnType<typeof makeRandom>, count: number): Bound[] => {
  let xid = 10n;
  let lastId = 100n;
  return Array.from({ length: count }, () => {
    xid += BigInt(random.integer(2, 20));
    lastId += BigInt(random.integer(0, 50));
    return { xid, lastId };
  });
};

const strongest = (ticks: readonly Bound[], xid: bigint, floor: bigint): bigint =>
  ticks.reduce((best, tick) => (tick.xid <= xid && tick.lastId > best ? tick.lastId : best), floor);

test("with every tick known, the bound is that of the highest tick at or below the transaction", () => {
  const random = makeRandom("tick bounds");
  const ticks = ascendingTicks(random, 300);
  const bounds = makeTickBounds(99n);
  for (const tick of random.shuffle(ticks)) bounds.add(tick);
  for (let xid = 0n; xid < (ticks.at(-1)?.xid ?? 0n) + 5n; xid += 1n) {
    expect(bounds.below(xid)).toBe(strongest(ticks, xid, 99n));
  }
});

test("ticks that are missing, repeated, trimmed or thinned out only weaken a bound, never make it too strong", () => {
  const random = makeRandom("missing ticks");
  for (let runs = 0; runs < 200; runs += 1) {
    const ticks = ascendingTicks(random, 60);
    const bounds = makeTickBounds(99n);
    let trimmedAt = 0n;
    for (let n = 0; n < 80; n += 1) {
      bounds.add(random.pick(ticks));
      if (random.chance(0.1)) {
        const xid = BigInt(random.integer(0, 900));
        trimmedAt = xid > trimmedAt ? xid : trimmedAt;
        bounds.trim(xid);
      }
      const xid = trimmedAt + BigInt(random.integer(0, 900));
      expect(bounds.below(xid)).toBeGreaterThanOrEqual(99n);
      expect(bounds.below(xid)).toBeLessThanOrEqual(strongest(ticks, xid, 99n));
    }
  }
});

test("trimming keeps the bound of everything from there on", () => {
  const random = makeRandom("trimmed ticks");
  const ticks = ascendingTicks(random, 100);
  const bounds = makeTickBounds(0n);
  for (const tick of ticks) bounds.add(tick);
  const from = ticks[70]?.xid ?? 0n;
  bounds.trim(from + 1n);
  expect(bounds.size()).toBe(30);
  for (let xid = from + 1n; xid < from + 500n; xid += 1n) {
    expect(bounds.below(xid)).toBe(strongest(ticks, xid, 0n));
  }
});

test("no answer is below the floor, so that a bound from an earlier epoch weakens nothing", () => {
  const bounds = makeTickBounds(2n ** 47n - 1n);
  bounds.add({ xid: 5n, lastId: 12n });
  expect(bounds.below(100n)).toBe(2n ** 47n - 1n);
});

test("a transaction open for days does not make them grow without end, and the first bound stays", () => {
  const bounds = makeTickBounds(0n);
  for (let n = 1n; n <= 100_000n; n += 1n) {
    bounds.add({ xid: n * 10n, lastId: n });
    if (bounds.size() > 2_048) throw new Error("too many");
  }
  expect(bounds.below(10n)).toBe(1n);
  expect(bounds.below(1_000_000n)).toBeGreaterThan(98_000n);
});
