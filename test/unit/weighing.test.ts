//! When pages are weighed: only while there are large events.

import { expect, test } from "bun:test";

import { makeWeighing, type Weighing } from "../../src/adapters/postgres/read/weighing.ts";
import type { Page } from "../../src/core/log.ts";

const limits = { eventsMax: 5_000, bytesMax: 500_000 };

const pageOf = (sizes: readonly number[], more: boolean): Page => ({
  rows: sizes.map((size, index) => ({
    id: BigInt(index),
    topicId: 1,
    key: null,
    type: null,
    headers: null,
    createdAt: new Date(0),
    data: "x".repeat(size),
  })),
  more,
});

const small = (count: number): readonly number[] => Array.from({ length: count }, () => 100);

/** Whether the next page would be weighed. */
const weighs = (weighing: Weighing): boolean => weighing.fits(limits).text.includes("sum(");

test("pages of small events are not weighed, however many come, however full they are", () => {
  const weighing = makeWeighing();
  for (let n = 0; n < 5; n += 1) {
    expect(weighs(weighing)).toBeFalse();
    weighing.learn(pageOf(small(limits.eventsMax), true), limits);
  }
});

test("a page that was cut in front of a large event is followed by pages that are weighed, until there have been none but small ones for a while", () => {
  const weighing = makeWeighing();
  weighing.learn(pageOf([], true), limits);
  expect(weighs(weighing)).toBeTrue();
  weighing.learn(pageOf([101, ...small(4_999)], true), limits);
  expect(weighs(weighing)).toBeTrue();
  weighing.learn(pageOf(small(5_000), true), limits);
  expect(weighs(weighing)).toBeTrue();
  weighing.learn(pageOf(small(1), false), limits);
  expect(weighs(weighing)).toBeFalse();
});
