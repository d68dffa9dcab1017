import { describe, expect, test } from "bun:test";

import { type Cursor, inWindow } from "../../../src/core/cursor.ts";
import { describeGap, gapOf } from "../../../src/core/gap.ts";
import type { PurgedTopic } from "../../../src/core/log.ts";
import { makeSnapshot } from "../../../src/core/snapshot.ts";

const at = (xmax: bigint, ...xip: bigint[]): Cursor => ({
  epoch: "e",
  purge: 0n,
  seen: makeSnapshot(xmax, xip),
  window: null,
});

/** 12 events of transactions 100 to 200, ids 1 to 50. */
const purge = (change: Partial<PurgedTopic> = {}): PurgedTopic => ({
  purge: 1n,
  topic: "courses",
  events: 12,
  firstXid: 100n,
  lastXid: 200n,
  firstId: 1n,
  lastId: 50n,
  floor: makeSnapshot(250n, []),
  ofSegment: true,
  done: true,
  ...change,
});

const exactly = { topic: "courses", events: 12, exact: true };
const atMost = { ...exactly, exact: false };

describe("at rest", () => {
  test.each([
    ["behind all of it", at(100n), exactly],
    ["in the middle of its transactions", at(150n), atMost],
    ["with only its last transaction unseen", at(250n, 200n), atMost],
    ["with its first transaction seen", at(101n), atMost],
  ])("%s", (_, cursor, expected) => {
    expect(gapOf([purge()], cursor)).toEqual([expected]);
  });

  test.each([
    ["past its transactions", at(201n)],
    ["past its transactions while younger ones run", at(240n, 220n)],
    ["at the floor", at(250n)],
    ["at the floor with what never was in it still running", at(260n, 255n)],
  ])("%s nothing was missed", (_, cursor) => {
    expect(gapOf([purge()], cursor)).toEqual([]);
  });

  test("at the floor nothing was missed, though one that never was in it still runs amid its transactions", () => {
    expect(gapOf([purge({ floor: makeSnapshot(250n, [150n]) })], at(260n, 150n))).toEqual([]);
  });

  test("a transaction of its range still running in the cursor may have been in it: at most", () => {
    expect(gapOf([purge()], at(300n, 150n))).toEqual([atMost]);
  });

  test("unless the floor does not see it either", () => {
    const floor = makeSnapshot(250n, [150n]);
    expect(gapOf([purge({ floor })], at(220n, 150n))).toEqual([]);
    expect(gapOf([purge({ floor })], at(220n, 150n, 160n))).toEqual([atMost]);
    expect(gapOf([purge({ floor })], inWindow(at(90n), makeSnapshot(220n, [150n]), 50n))).toEqual([]);
  });
});

describe("in the middle of a window", () => {
  const until = makeSnapshot(260n, []);

  test("all of it handled in this window", () => {
    expect(gapOf([purge()], inWindow(at(90n), until, 50n))).toEqual([]);
  });

  test("handled up to the middle of its ids: at most", () => {
    expect(gapOf([purge()], inWindow(at(90n), until, 20n))).toEqual([atMost]);
  });

  test("its ids are all still to come: exactly", () => {
    expect(gapOf([purge({ firstId: 60n, lastId: 90n })], inWindow(at(90n), until, 50n))).toEqual([exactly]);
  });

  test("its transactions are all behind the window's end: exactly, whatever their ids", () => {
    expect(gapOf([purge()], inWindow(at(80n), makeSnapshot(95n, []), 60n))).toEqual([exactly]);
    expect(gapOf([purge()], inWindow(at(80n), makeSnapshot(100n, []), 60n))).toEqual([exactly]);
  });

  test("ids passed, but the window's end does not see all of them: at most", () => {
    expect(gapOf([purge()], inWindow(at(90n), makeSnapshot(150n, []), 50n))).toEqual([atMost]);
    expect(gapOf([purge()], inWindow(at(90n), makeSnapshot(260n, [120n]), 50n))).toEqual([atMost]);
  });
});

test("while it is only announced a page may still have had some of it: at most", () => {
  expect(gapOf([purge({ done: false })], at(100n))).toEqual([atMost]);
});

test("several purges of a topic add up, and are exact only when each is", () => {
  const more = purge({ purge: 2n, events: 3, firstXid: 300n, lastXid: 310n, floor: makeSnapshot(320n, []) });
  const other = purge({ topic: "policies", events: 7 });
  expect(gapOf([purge(), more, other], at(100n))).toEqual([
    { topic: "courses", events: 15, exact: true },
    { topic: "policies", events: 7, exact: true },
  ]);
  expect(gapOf([purge(), more], at(150n))).toEqual([{ topic: "courses", events: 15, exact: false }]);
  expect(gapOf([purge(), more], at(250n))).toEqual([{ topic: "courses", events: 3, exact: true }]);
});

test("of a topic that was trimmed in a segment that went too, some may be counted twice: at most", () => {
  const trimmed = purge({ purge: 2n, ofSegment: false, firstXid: 120n, lastXid: 150n, firstId: 20n });
  expect(gapOf([purge(), trimmed], at(100n))).toEqual([{ topic: "courses", events: 24, exact: false }]);
  const elsewhere = { ...trimmed, firstId: 60n, lastId: 90n };
  expect(gapOf([purge(), elsewhere], at(100n))).toEqual([{ topic: "courses", events: 24, exact: true }]);
  const later = { ...trimmed, firstXid: 300n, lastXid: 310n, floor: makeSnapshot(320n, []) };
  expect(gapOf([purge(), later], at(100n))).toEqual([{ topic: "courses", events: 24, exact: true }]);
});

test("of a topic that was trimmed beside another that went with a segment, none is counted twice: exactly", () => {
  const trimmed = purge({ purge: 2n, topic: "policies", events: 7, ofSegment: false });
  expect(gapOf([purge(), trimmed], at(100n))).toEqual([
    exactly,
    { topic: "policies", events: 7, exact: true },
  ]);
});

test("a gap reads as people say it", () => {
  expect(describeGap([exactly, { topic: "policies", events: 7, exact: false }])).toBe(
    "12 of courses, at most 7 of policies",
  );
});
