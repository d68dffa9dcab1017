import { expect, test } from "bun:test";

import {
  covers,
  crashSafe,
  emptySnapshot,
  equals,
  formatSnapshot,
  isAhead,
  lateXids,
  makeSnapshot,
  meet,
  parseSnapshot,
  sees,
  union,
  xmin,
} from "../../../src/core/snapshot.ts";
import { makeRandom } from "../../support/seed.ts";
import { bitsOf, rawSnapshot, seenBits, smallSnapshot, universe } from "./models.ts";

const pairs = 40_000;
const isSubset = (part: number, whole: number): boolean => (part & ~whole) === 0;

test("canonical form sees what PostgreSQL's raw form sees, and two forms are equal only when they see the same", () => {
  const random = makeRandom("canonical form");
  const textOfBits = new Map<number, string>();
  for (let n = 0; n < pairs; n += 1) {
    const { xmax, xip } = rawSnapshot(random);
    const snapshot = makeSnapshot(xmax, xip);
    const bits = seenBits((xid) => xid < xmax && !xip.includes(xid));
    if (bitsOf(snapshot) !== bits)
      throw new Error(`${xmax}:${xip.join(",")} became ${formatSnapshot(snapshot)}`);
    const text = formatSnapshot(snapshot);
    if ((textOfBits.get(bits) ?? text) !== text) throw new Error(`two forms of the same: ${text}`);
    textOfBits.set(bits, text);
  }
  expect(new Set(textOfBits.values()).size).toBe(textOfBits.size);
});

test("covers, is ahead, equals, meet, union and late transactions agree with the model", () => {
  const random = makeRandom("snapshot pairs");
  let covering = 0;
  for (let n = 0; n < pairs; n += 1) {
    const a = smallSnapshot(random);
    const b = random.chance(0.1) ? a : smallSnapshot(random);
    const [inA, inB] = [bitsOf(a), bitsOf(b)];
    const expected = {
      covers: isSubset(inA, inB),
      isAhead: isSubset(inA, inB) && inA !== inB,
      equals: inA === inB,
      meet: inA & inB,
      union: inA | inB,
      late: universe.filter((xid) => xid < a.xmax && !sees(a, xid) && sees(b, xid)),
    };
    const actual = {
      covers: covers(b, a),
      isAhead: isAhead(b, a),
      equals: equals(a, b),
      meet: bitsOf(meet(a, b)),
      union: bitsOf(union(a, b)),
      late: lateXids(a, b),
    };
    if (expected.covers) covering += 1;
    if (!Bun.deepEquals(actual, expected)) {
      throw new Error(`${formatSnapshot(a)} and ${formatSnapshot(b)}: ${Bun.inspect({ actual, expected })}`);
    }
  }
  expect(covering).toBeGreaterThan(1_000);
});

test("a meet is in canonical form, so that it equals any other way of writing the same", () => {
  const random = makeRandom("meet");
  for (let n = 0; n < 5_000; n += 1) {
    const both = meet(smallSnapshot(random), smallSnapshot(random));
    expect(makeSnapshot(both.xmax, both.xip)).toEqual(both);
    expect(meet(both, both)).toEqual(both);
  }
});

test("made crash-safe, a snapshot claims nothing above the newest event, hides no event it saw, and never goes back", () => {
  const random = makeRandom("crash-safe");
  let checked = 0;
  for (let n = 0; n < pairs; n += 1) {
    const since = smallSnapshot(random);
    const current = smallSnapshot(random);
    if (!covers(current, since)) continue;
    checked += 1;
    const events = universe.filter((xid) => sees(current, xid) && random.chance(0.3));
    // As the look answers it: not below `since.xmax`.
    const newest = events.findLast((xid) => xid >= since.xmax) ?? null;
    const safe = crashSafe(current, since, newest);
    expect(covers(safe, since)).toBe(true);
    expect(covers(current, safe)).toBe(true);
    const flushed = newest === null ? since.xmax - 1n : newest;
    expect(events.filter((xid) => !sees(safe, xid))).toEqual([]);
    expect(universe.filter((xid) => sees(safe, xid) && xid > flushed)).toEqual([]);
  }
  expect(checked).toBeGreaterThan(1_000);
});

test("what was never flushed is not claimed: xids burnt after the newest event stay unseen", () => {
  const since = makeSnapshot(100n, []);
  expect(crashSafe(makeSnapshot(150n, [120n]), since, 110n)).toEqual({ xmax: 111n, xip: [] });
  expect(crashSafe(makeSnapshot(150n, [105n, 120n]), since, 110n)).toEqual({ xmax: 111n, xip: [105n] });
  expect(crashSafe(makeSnapshot(150n, []), since, null)).toEqual(since);
  expect(crashSafe(makeSnapshot(150n, []), since, 90n)).toEqual(since);
});

test("the empty snapshot sees no transaction", () => {
  expect(bitsOf(emptySnapshot)).toBe(0);
});

test("PostgreSQL's text comes back the same, and xmin is the least that is not seen", () => {
  for (const text of [
    "3:3:",
    "10:20:10,12,18",
    "18446744073709551610:18446744073709551612:18446744073709551610",
  ]) {
    expect(formatSnapshot(parseSnapshot(text))).toBe(text);
  }
  expect(xmin(parseSnapshot("10:20:12"))).toBe(12n);
  expect(formatSnapshot(parseSnapshot("10:20:18,19"))).toBe("18:18:");
});

test.each(["", "1:2", "a:b:", "10:20:1,", "10:20:,1", "10:20:1 ", "-1:2:", "10:20:0x1"])(
  "%p is not a snapshot",
  (text) => {
    expect(() => parseSnapshot(text)).toThrow(expect.objectContaining({ code: "internal" }));
  },
);
