//! Several lanes at once, and everything breaking: each key keeps its order, nothing is lost, repeated or mixed up.

import { describe, expect, test } from "bun:test";

import type { EventDraft } from "../../../src/core/event.ts";
import type { EventAppender } from "../../../src/core/publish/append-until-known.ts";
import { makePublisher, type Publisher, type PublisherOptions } from "../../../src/core/publish/publisher.ts";
import { makeRandom, type Random, seededRandom } from "../../support/seed.ts";
import { makeFakeAppender } from "./fake-appender.ts";
import { type FakeClock, makeFakeClock, makeFakeLogger, outcomeOf, settle } from "./fakes.ts";
import { firstViolation, plantedInPublisher, type PublishPlant } from "./planted.ts";
import { makeSlowLog, type SlowLog } from "./slow-log.ts";

const defaults = {
  batchEventsMax: 1_000,
  batchBytesMax: 2 ** 20,
  bufferEventsMax: 10_000,
  bufferBytesMax: 2 ** 24,
  eventBytesMax: 2 ** 20,
  callBytesMax: 2 ** 28,
  furtherLaneEventsMin: 1,
  backoff: { delayMsMin: 50, delayMsMax: 5_000 },
};

const open = (
  appenders: readonly EventAppender[],
  options: Partial<PublisherOptions> = {},
  plant: PublishPlant = {},
): { publisher: Publisher; clock: FakeClock } => {
  const clock = makeFakeClock();
  let names = 0;
  const publisher = makePublisher(
    {
      appenders: appenders.map((appender) => plant.appender?.(appender) ?? appender),
      announcer: { announce: () => {}, settled: async () => {} },
      clock,
      random: () => 0,
      newId: () => `publisher-${(names += 1)}`,
      logger: makeFakeLogger(),
    },
    { ...defaults, ...options },
  );
  return { publisher: plant.publisher?.(publisher) ?? publisher, clock };
};

describe("two lanes", () => {
  const setup = (options: Partial<PublisherOptions> = {}) => {
    const lanes = [makeFakeAppender(), makeFakeAppender()] as const;
    const { publisher, clock } = open(lanes, options);
    const keyed = (key: string, data: unknown = key): EventDraft => ({ topic: "t", key, data });
    const sent = (lane: number): readonly (readonly string[])[] =>
      lanes[lane]?.calls.map((call) => call.events.map(({ data }) => data)) ?? [];
    return { lanes, publisher, clock, keyed, sent };
  };

  test("are out at the same time, each numbering its own batches under its own name", async () => {
    const { lanes, publisher, keyed } = setup();
    const release = lanes.map((lane) => lane.hold());
    const calls = ["a", "b", "c"].map(async (key) => {
      const id = publisher.publish(keyed(key));
      await settle();
      return await id;
    });
    await settle();
    const more = publisher.publish(keyed("d"));
    await settle();
    expect(lanes.map((lane) => lane.calls.map((call) => [call.publisher, call.number]))).toEqual([
      [["publisher-1", 1n]],
      [["publisher-2", 1n]],
    ]);
    for (const it of release) it();
    await Promise.all([...calls, more]);
  });

  test("are not kept from little by a batch that waits: it goes past after a moment, what has its key does not", async () => {
    const { lanes, publisher, keyed, sent, clock } = setup({ furtherLaneEventsMin: 256 });
    const release = lanes[0].hold();
    const waiting = publisher.publish(keyed("a"));
    await settle();
    const others = [publisher.publish(keyed("b")), publisher.publish(keyed("a", "a2"))];
    await clock.pass(99);
    expect(sent(1)).toEqual([]);
    await clock.pass(200);
    expect(sent(1)).toEqual([['"b"']]);
    expect(await others[0]).toBeGreaterThan(0n);
    expect(sent(0)).toEqual([['"a"']]);
    release();
    await Promise.all([waiting, ...others]);
    expect([...sent(0), ...sent(1)].flat()).toEqual(['"a"', '"a2"', '"b"']);
  });

  test("let a batch that waits be passed each time that one does", async () => {
    const { lanes, publisher, keyed, sent, clock } = setup({ furtherLaneEventsMin: 256 });
    for (let times = 1; times <= 3; times += 1) {
      const release = lanes[0].hold();
      const waiting = publisher.publish(keyed("a"));
      await settle();
      const other = publisher.publish(keyed("b"));
      await clock.pass(200);
      expect(sent(1)).toHaveLength(times);
      release();
      await Promise.all([waiting, other]);
      await clock.pass(200);
    }
  });

  test.each([9, 1_100])("pass it though calls of its key wait in front: %d", async (crowd) => {
    const { lanes, publisher, keyed, sent, clock } = setup({ furtherLaneEventsMin: 8 });
    const release = lanes[0].hold();
    const calls = [publisher.publish(keyed("a"))];
    await settle();
    for (let n = 0; n < crowd; n += 1) calls.push(publisher.publish(keyed("a", n)));
    await settle();
    calls.push(publisher.publish(keyed("b")));
    await clock.pass(200);
    expect(sent(1)).toEqual([['"b"']]);
    calls.push(publisher.publish(keyed("c")));
    await settle();
    expect(sent(1)).toEqual([['"b"'], ['"c"']]); // at once: it still is late
    release();
    await Promise.all(calls);
    expect(lanes[0].committed.map(({ data }) => data).slice(1)).toEqual(
      Array.from({ length: crowd }, (_, n) => `${n}`),
    );
  });

  test("never carry one key at once: its next event goes when the one before it has been answered", async () => {
    const { lanes, publisher, keyed, sent } = setup();
    const release = lanes[0].hold();
    const first = publisher.publish(keyed("a", 1));
    await settle();
    const later = [publisher.publish(keyed("a", 2)), publisher.publish(keyed("b", 3))];
    await settle();
    expect([sent(0), sent(1)]).toEqual([[["1"]], [["3"]]]);
    release();
    await Promise.all([first, ...later]);
    expect([...sent(0), ...sent(1)].flat().toSorted()).toEqual(["1", "2", "3"]);
  });

  test("keep a topic's events without a key in order, as if they had one", async () => {
    const { lanes, publisher, sent } = setup();
    const release = lanes[0].hold();
    const first = publisher.publish({ topic: "t", data: 1 });
    await settle();
    const later = [publisher.publish({ topic: "t", data: 2 }), publisher.publish({ topic: "u", data: 3 })];
    await settle();
    expect(sent(1)).toEqual([["3"]]);
    release();
    await Promise.all([first, ...later]);
  });

  test("hold a key until all of the batch is answered, though it fails in halves", async () => {
    const { lanes, publisher, keyed, sent } = setup({ furtherLaneEventsMin: 4 });
    const releases: (() => void)[] = [lanes[0].hold()];
    const spoiled = [keyed("a", 1), keyed("x", "bad"), keyed("b", 2)].map(
      async (draft) => await outcomeOf(publisher.publish(draft)),
    );
    await settle();
    const later = [3, 4, 5, 6].map((data) => publisher.publish(keyed("b", data)));
    // The whole, its first half, the two calls in it, and the second half: one after the other.
    for (let sends = 1; sends <= 5; sends += 1) {
      expect([sends, sent(0).length, sent(1)]).toEqual([sends, sends, []]);
      const release = releases.at(-1);
      releases.push(lanes[0].hold());
      release?.();
      await settle();
    }
    releases.at(-1)?.();
    expect(await Promise.all(spoiled)).toEqual([1n, "invalid_event", 2n]);
    await Promise.all(later);
    expect(lanes[0].committed.map(({ data }) => data).slice(0, 2)).toEqual(["1", "2"]);
  });

  test("one in an outage holds up its own keys and nobody else's", async () => {
    const { lanes, publisher, clock, keyed, sent } = setup();
    lanes[0].next(...Array.from({ length: 20 }, () => "lose request" as const));
    const stuck = publisher.publish(keyed("a", 1));
    await settle();
    const behind = publisher.publish(keyed("a", 2));
    expect(await publisher.publish(keyed("b", 3))).toBe(1n);
    expect(publisher.status().retrying).toBe("the connection broke");
    expect(sent(1)).toEqual([["3"]]);
    await clock.pass(60_000);
    await Promise.all([stuck, behind]);
    expect(publisher.status().retrying).toBeNull();
  });

  test("the second stays at home for little: calls wait for the first and go together", async () => {
    const { lanes, publisher, keyed, sent, clock } = setup({ furtherLaneEventsMin: 10 });
    await clock.pass(1_000);
    const release = lanes[0].hold();
    const calls = [publisher.publish(keyed("first"))];
    await settle();
    for (let n = 0; n < 9; n += 1) calls.push(publisher.publish(keyed(`k${n}`, n)));
    await clock.pass(50);
    expect(sent(1)).toEqual([]);
    calls.push(publisher.publish(keyed("k9", 9)));
    await settle();
    expect(sent(1).map((it) => it.length)).toEqual([10]);
    release();
    await Promise.all(calls);
  });
});

interface Call {
  readonly drafts: readonly EventDraft[];
  /** The ids, or the code of the failure. */
  outcome: readonly bigint[] | string;
}

const dataOf = (call: number, event: number, isBad: boolean): string =>
  `${call}.${event}${isBad ? "-bad" : ""}`;

/** Calls and lets go on, in an order that chance decides, until all are answered. */
const act = async (
  random: Random,
  log: SlowLog,
  opened: ReturnType<typeof open>,
): Promise<readonly Call[]> => {
  const { publisher, clock } = opened;
  const calls: Call[] = [];
  const answers: Promise<void>[] = [];
  const call = (): void => {
    const drafts = Array.from({ length: random.chance(0.7) ? 1 : random.integer(2, 5) }, (_, at) => ({
      topic: random.pick(["t", "u"]),
      ...(random.chance(0.2) ? {} : { key: random.pick(["a", "b", "c", "d"]) }),
      data: dataOf(calls.length, at, random.chance(0.02)),
    }));
    const made: Call = { drafts, outcome: "never answered" };
    calls.push(made);
    const published = publisher.publish(drafts);
    answers.push(
      outcomeOf(published).then((outcome) => {
        made.outcome = outcome;
      }),
    );
  };
  for (let n = 0; n < 150; n += 1) {
    for (let burst = random.chance(0.3) ? random.integer(1, 12) : 1; burst > 0; burst -= 1) call();
    for (let steps = random.integer(0, 4); steps > 0; steps -= 1) {
      log.step();
      await settle(random.integer(0, 12));
    }
    if (random.chance(0.2)) await clock.pass(100);
  }
  for (let n = 0; publisher.status().waiting > 0 && n < 20_000; n += 1) {
    if (!log.step()) await clock.pass(100);
    await settle(12);
  }
  if (publisher.status().waiting === 0) await Promise.all(answers);
  return calls;
};

/** Number of the call and of its event, as one that grows. */
const placeOf = (data: string): number => {
  const [call = "", event = ""] = data.replaceAll(/"|-bad/g, "").split(".");
  return Number(call) * 100 + Number(event);
};

const isGrowing = (values: readonly (number | bigint)[]): boolean =>
  values.every((value, at) => at === 0 || value > (values[at - 1] ?? value));

const checkOrder = ({ committed, overlaps }: SlowLog, lanes: number): void => {
  expect(overlaps, "keys that are on one lane at a time").toEqual([]);
  const byKey = Map.groupBy(committed, ({ orderKey }) => (lanes === 1 ? "all" : orderKey));
  for (const events of byKey.values()) {
    expect(isGrowing(events.map(({ data }) => placeOf(data))), "the order of the calls").toBe(true);
    expect(isGrowing(events.map(({ id }) => id)), "the order of ids").toBe(true);
  }
};

const checkAnswers = ({ committed }: SlowLog, calls: readonly Call[]): void => {
  const idOf = new Map(committed.map(({ id, data }) => [data, id]));
  expect(idOf.size, "each event once").toBe(committed.length);
  for (const { drafts, outcome } of calls) {
    const ids = drafts.map(({ data }) => idOf.get(JSON.stringify(data)));
    const isThere = ids.every((id) => id !== undefined);
    if (typeof outcome !== "string") expect(ids).toEqual([...outcome]);
    else if (outcome === "publish_unknown") expect(isThere || ids.every((id) => id === undefined)).toBe(true);
    else expect([outcome, ids.some((id) => id !== undefined)]).toEqual([outcome, false]);
    expect(outcome).not.toBe("never answered");
    const isBad = drafts.some(({ data }) => String(data).endsWith("bad"));
    // Refused for its own sake, or for the publisher's, but never for somebody else's event.
    if (outcome === "invalid_event") expect(isBad).toBe(true);
  }
};

/** One publisher's life; fails on the first promise that is broken. Answers what happened how often. */
const runHistory = async (
  random: Random,
  lanes: number,
  plant: PublishPlant = {},
): Promise<ReadonlyMap<string, number>> => {
  const log = makeSlowLog(random.fork(), random.pick([0, 0.03, 0.15]));
  const opened = open(
    Array.from({ length: lanes }, () => log),
    {
      batchEventsMax: random.pick([3, 10, 100]),
      bufferEventsMax: random.pick([8, 40, 10_000]),
      furtherLaneEventsMin: random.pick([1, 1, 2, 6]),
    },
    plant,
  );
  const calls = await act(random.fork(), log, opened);
  checkAnswers(log, calls);
  checkOrder(log, lanes);
  return log.counts;
};

test.each([1, 2, 3, 4])(
  "whatever breaks, with lanes: %d, each key keeps its order, and each caller gets its own ids or its own failure",
  async (lanes) => {
    const random = makeRandom(`publisher with ${lanes} lanes`);
    const seen = new Map<string, number>();
    for (let round = 0; round < 12; round += 1) {
      const counts = await runHistory(random.fork(), lanes);
      for (const [what, count] of counts) seen.set(what, (seen.get(what) ?? 0) + count);
    }
    for (const what of ["request lost", "answer lost", "rolled back", "denied", "refused"]) {
      expect([what, (seen.get(what) ?? 0) > 0]).toEqual([what, true]);
    }
    expect((seen.get("2 lanes out") ?? 0) > 0).toBe(lanes > 1);
  },
  60_000,
);

for (const [bug, { breaks, ...plant }] of Object.entries(plantedInPublisher)) {
  test(`${bug} is caught`, async () => {
    const run = async (seed: number): Promise<unknown> => await runHistory(seededRandom(seed), 2, plant);
    expect(await firstViolation(bug, 20, run)).toContain(breaks);
  });
}
