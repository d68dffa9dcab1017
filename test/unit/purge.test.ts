import { describe, expect, test } from "bun:test";

import { PgstreamError } from "../../src/core/errors.ts";
import { purgeOnce, type PurgeOptions } from "../../src/core/purge/purge.ts";
import { type FakeLog, makeFakeClock, makeFakeLog, makeMemoryLogger, options } from "./purge-fakes.ts";

const locked = (): PgstreamError => new PgstreamError("database_error", "lock timeout", { retryable: true });
const forbidden = (): PgstreamError => new PgstreamError("permission_denied", "not yours");
const gone = (): PgstreamError =>
  new PgstreamError("database_unavailable", "connection lost", { retryable: true });

const purge = async (
  log: FakeLog,
  changes: Partial<PurgeOptions> = {},
  signal = new AbortController().signal,
) => {
  const { purging, calls } = makeFakeLog(log);
  const { clock, sleeps } = makeFakeClock();
  const { logger, messages } = makeMemoryLogger();
  const ports = { purging, clock, logger, random: () => 0.5 };
  const round = await purgeOnce(ports, { ...options, ...changes }, signal).catch((error: unknown) => error);
  return { round, calls, sleeps, messages };
};

test("a round attaches, rolls, attaches the next, empties, trims and forgets, in this order", async () => {
  const { round, calls } = await purge({ rolls: true, segments: [4], topics: [1], rowsToForget: 12 });
  expect(calls).toEqual([
    "lead",
    "prepare",
    "roll",
    "prepare",
    "unfinished",
    "expired segments",
    "announce segment 4",
    "empty 4",
    "expired topics",
    "announce topic 1",
    "trim 1001",
    "trim 1001",
    "trim 1001",
    "forget",
    "forget",
  ]);
  expect(round).toEqual({
    segmentsAttached: 2,
    segmentsRolled: 1,
    segmentsEmptied: 1,
    eventsPurged: 3n,
    eventsTrimmed: 25,
    rowsForgotten: 12,
    failures: [],
  });
});

test("a purger that is not the one at work does nothing", async () => {
  const { round, calls } = await purge({ isLeader: false, segments: [4] });
  expect(round).toBeNull();
  expect(calls).toEqual(["lead"]);
});

test("what an earlier purger announced is finished first", async () => {
  const { round, calls } = await purge({
    unfinished: [
      { id: 2n, segment: 2, topicId: null, events: 7n },
      { id: 1_001n, segment: null, topicId: 1, events: 9n },
    ],
    segments: [3],
  });
  expect(calls.slice(3)).toEqual([
    "unfinished",
    "empty 2",
    "trim 1001",
    "expired segments",
    "announce segment 3",
    "empty 3",
    "expired topics",
    "forget",
  ]);
  expect(round).toMatchObject({ segmentsEmptied: 2, eventsPurged: 10n });
});

describe("a lock that is held", () => {
  test("is tried again with jitter, and then the work is done", async () => {
    const { round, sleeps, calls } = await purge({
      segments: [4],
      failures: { "empty 4": [locked(), locked()] },
    });
    expect(calls.filter((it) => it === "empty 4")).toHaveLength(3);
    expect(sleeps).toEqual([10, 20]);
    expect(round).toMatchObject({ segmentsEmptied: 1, failures: [] });
  });

  test("is given up after a few tries; the other steps go on, and the failure is reported", async () => {
    const { round, calls, messages } = await purge({
      topics: [1],
      failures: { roll: Array.from({ length: 9 }, locked) },
    });
    expect(calls.filter((it) => it === "roll")).toHaveLength(1 + options.retriesMax);
    expect(calls.at(-1)).toBe("forget");
    expect(round).toMatchObject({
      eventsTrimmed: 25,
      failures: [{ step: "roll the segment", error: "lock timeout", retryable: true }],
    });
    expect(messages).toContain("a step of the purge failed; it is left for the next round");
  });

  test("is all that is tried again: what else is wrong is left for the next round", async () => {
    const failure = new PgstreamError("database_error", "division by zero");
    const { calls } = await purge({ failures: { roll: [failure] } });
    expect(calls.filter((it) => it === "roll")).toHaveLength(1);
  });

  test("is not tried again by a step that has taken its time already", async () => {
    const { calls } = await purge({ failures: { roll: [locked(), locked()] } }, { retryMsMax: 0 });
    expect(calls.filter((it) => it === "roll")).toHaveLength(1);
  });
});

describe("segments are emptied in order", () => {
  test("and none after one that could not be", async () => {
    const { calls } = await purge({
      segments: [4, 5],
      failures: { "empty 4": Array.from({ length: 9 }, locked) },
    });
    expect(calls).not.toContain("announce segment 5");
    expect(calls).toContain("expired topics");
  });

  for (const when of ["newerEvents", "lateEvents"] as const) {
    test(`and none after one that something newer came into (${when})`, async () => {
      const { round, calls } = await purge({ segments: [4, 5], [when]: [4] });
      expect(calls).not.toContain("announce segment 5");
      expect(round).toMatchObject({ segmentsEmptied: 0, eventsPurged: 0n, failures: [] });
    });
  }

  test("and none while an announced one is left over, though others of them are finished", async () => {
    const { calls } = await purge({
      unfinished: [
        { id: 2n, segment: 2, topicId: null, events: 7n },
        { id: 3n, segment: 3, topicId: null, events: 7n },
        { id: 1_001n, segment: null, topicId: 1, events: 7n },
      ],
      segments: [4],
      failures: { "empty 2": Array.from({ length: 9 }, locked) },
    });
    expect(calls).toContain("empty 3");
    expect(calls).toContain("trim 1001");
    expect(calls).not.toContain("expired segments");
  });

  test("and none when it is not known whether one is left over", async () => {
    const { calls } = await purge({
      segments: [4],
      failures: { unfinished: Array.from({ length: 9 }, locked) },
    });
    expect(calls).not.toContain("expired segments");
    expect(calls).toContain("expired topics");
  });
});

test("trimming takes small batches with pauses, and so many in a round, over all topics", async () => {
  const { round, calls, sleeps } = await purge({ topics: [1, 2, 3] });
  expect(calls.filter((it) => it.startsWith("trim"))).toEqual([
    "trim 1001",
    "trim 1001",
    "trim 1001",
    "trim 1002",
    "trim 1002",
  ]);
  expect(calls).not.toContain("announce topic 3");
  expect(round).toMatchObject({ eventsTrimmed: 45 });
  expect(sleeps).toEqual([7, 7, 7, 7]);
});

test("forgetting takes bounded batches until a short one, and so many in a round", async () => {
  expect((await purge({ rowsToForget: 25 })).round).toMatchObject({ rowsForgotten: 25 });
  expect((await purge({ rowsToForget: 1_000 })).round).toMatchObject({ rowsForgotten: 40 });
});

test("a batch that fails is the last one of its step in this round", async () => {
  const { calls } = await purge({
    topics: [1],
    rowsToForget: 100,
    failures: { "trim 1001": [forbidden()], forget: [forbidden()] },
  });
  expect(calls.filter((it) => it === "trim 1001")).toHaveLength(1);
  expect(calls.filter((it) => it === "forget")).toHaveLength(1);
});

test("a right that is missing fails its step only, and is told as what waiting does not mend", async () => {
  const { round } = await purge({ rowsToForget: 5, failures: { "expired topics": [forbidden()] } });
  expect(round).toMatchObject({
    rowsForgotten: 5,
    failures: [{ step: "find topics to trim", retryable: false }],
  });
});

test("a database that is gone ends the round at once", async () => {
  const { round, calls } = await purge({ failures: { roll: [gone()] }, segments: [4] });
  expect(round).toMatchObject({ code: "database_unavailable" });
  expect(calls.at(-1)).toBe("roll");
});

test("a bug is not mistaken for a failed step", async () => {
  const { round } = await purge({ failures: { forget: [new TypeError("undefined")] } });
  expect(round).toBeInstanceOf(TypeError);
});

test("after the signal the statement in hand is finished and no other begun", async () => {
  const stopping = new AbortController();
  const { round, calls } = await purge(
    { segments: [4, 5], topics: [1], onCall: (call) => call === "announce segment 4" && stopping.abort() },
    {},
    stopping.signal,
  );
  expect(calls.at(-1)).toBe("announce segment 4");
  expect(round).toMatchObject({ segmentsEmptied: 0 });
});
