import { expect, test } from "bun:test";

import { encodeEvent, type Json } from "../../../src/core/event.ts";
import { openGenerator } from "../../../src/features/generate.ts";
import { projectBatch } from "../../../src/features/handlers.ts";
import { eventOf } from "./sample-event.ts";

const time = new Date("2026-01-02T03:04:05.678Z");

test("the same seed makes the same events, another seed others", async () => {
  const [one, same, other] = await Promise.all([openGenerator(7), openGenerator(7), openGenerator(8)]);
  const drafts = one.next(50, time);
  expect(same.next(20, time)).toEqual(drafts.slice(0, 20));
  expect(same.next(30, time)).toEqual(drafts.slice(20));
  expect(other.next(50, time)).not.toEqual(drafts);
});

test("courses and policies take turns, keyed by what they are about, and are what the consumer understands", async () => {
  const drafts = (await openGenerator(1)).next(100, time);
  const events = drafts.map((draft, at) => {
    expect(() => encodeEvent(draft, 10_000)).not.toThrow();
    return eventOf(draft.topic, draft.type ?? null, draft.data as Json, BigInt(at + 1));
  });
  const { writes, unknown } = projectBatch(events);
  expect(unknown).toEqual([]);
  expect(writes.map(({ id }) => id)).toEqual(drafts.map(({ key }) => key ?? ""));
  expect(drafts.slice(0, 4).map(({ type }) => type)).toEqual([
    "CourseCreated",
    "PolicyUpdated",
    "CourseCreated",
    "PolicyUpdated",
  ]);
});

test("each course comes into being once; policies change again and again", async () => {
  const drafts = (await openGenerator(1)).next(2_000, time);
  const idsOn = (topic: string) => new Set(drafts.filter((it) => it.topic === topic).map(({ key }) => key));
  expect(idsOn("courses").size).toBe(1_000);
  expect(idsOn("policies").size).toBe(100);
});
