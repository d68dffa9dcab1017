//! The benchmark's eye: it must see every way in which a delivery can be wrong, or its figures would mean nothing.

import { describe, expect, test } from "bun:test";

import { checkerOf, type Delivered } from "../../../bench/checker.ts";
import { type BenchContext, DeliveryError, type Measure } from "../../../bench/context.ts";
import { makeDrafts } from "../../../bench/events.ts";
import { exitCodeOf, measureAll } from "../../../bench/run.ts";

const drafts = makeDrafts(5_000);
/** As a reader would have it: decoded from its text. */
const delivered: readonly Delivered[] = drafts.map(({ topic, key, data }) => ({
  topic,
  key,
  data: JSON.parse(JSON.stringify(data)) as unknown,
}));

const look = (events: readonly Delivered[]): void => {
  const checker = checkerOf("reader", drafts);
  for (const event of events) checker.see(event);
  checker.finish();
};

const replaced = (index: number, change: (event: Delivered) => Delivered): readonly Delivered[] =>
  delivered.map((event, at) => (at === index ? change(event) : event));

/** Two events of one key that change places. */
const swapped = (): readonly Delivered[] => {
  const first = 100;
  const second = delivered.findIndex(({ key }, at) => at > first && key === delivered[first]?.key);
  return delivered.map((event, at) => delivered[at === first ? second : at === second ? first : at] ?? event);
};

const withData = (data: Readonly<Record<string, unknown>>) => (event: Delivered) => ({
  ...event,
  data: { ...(event.data as object), ...data },
});

const wrong: readonly {
  readonly how: string;
  readonly events: readonly Delivered[];
  readonly says: string;
}[] = [
  { how: "one is missing", events: delivered.filter((_, at) => at !== 1_234), says: "event 1234" },
  { how: "the last one is missing", events: delivered.slice(0, -1), says: "lost" },
  {
    how: "one comes twice at once",
    events: delivered.toSpliced(7, 0, ...delivered.slice(7, 8)),
    says: "twice",
  },
  { how: "one comes again at the end", events: [...delivered, ...delivered.slice(-1)], says: "twice" },
  { how: "two of one key change places", events: swapped(), says: "out of order" },
  { how: "a word is another", events: replaced(5, withData({ product: "stones" })), says: "altered" },
  { how: "a number is another", events: replaced(5, withData({ cents: -1 })), says: "altered" },
  { how: "the key is another", events: replaced(5, (it) => ({ ...it, key: "customer-0" })), says: "altered" },
  {
    how: "the topic is another",
    events: replaced(5, (it) => ({ ...it, topic: "elsewhere" })),
    says: "altered",
  },
  {
    how: "it is not what we publish",
    events: replaced(5, (it) => ({ ...it, data: "text" })),
    says: "altered",
  },
  { how: "nobody published it", events: replaced(5, withData({ n: 5_000 })), says: "never published" },
];

describe("the checker of deliveries", () => {
  test("is content with each event once, as published, in the order of its key", () => {
    expect(() => look(delivered)).not.toThrow();
  });

  test("is content when events of different keys change places", () => {
    const other = delivered.findIndex(({ key }) => key !== delivered[0]?.key);
    const between = delivered.slice(1, other);
    expect(() =>
      look([
        ...delivered.slice(other, other + 1),
        ...delivered.slice(0, 1),
        ...between,
        ...delivered.slice(other + 1),
      ]),
    ).not.toThrow();
  });

  for (const { how, events, says } of wrong) {
    test(`throws when ${how}`, () => {
      expect(() => look(events)).toThrow(DeliveryError);
      expect(() => look(events)).toThrow(says);
    });
  }
});

describe("a run of the benchmark", () => {
  const context = {
    say: () => {},
    signal: new AbortController().signal,
  } as Partial<BenchContext> as BenchContext;

  const measureOf = (name: string, run: () => void): Measure => ({
    name,
    about: name,
    run: async () => {
      run();
      return await Promise.resolve({ rows: [] });
    },
  });

  const play = async (measures: readonly Measure[]) => {
    const printed: string[] = [];
    const explained: string[] = [];
    const code = await exitCodeOf(
      async () => {
        const { rows } = await measureAll(measures, context);
        printed.push(JSON.stringify(rows));
      },
      context.signal,
      (line) => explained.push(line),
    );
    return { code, printed, explained };
  };

  test("ends with 0 and its figures when every delivery was right", async () => {
    const outcome = await play([measureOf("right", () => look(delivered))]);
    expect(outcome).toEqual({ code: 0, printed: ["[]"], explained: [] });
  });

  test("ends with 1 and no figure when a single event was lost, whatever the other measures found", async () => {
    const { code, printed, explained } = await play([
      measureOf("right", () => look(delivered)),
      measureOf("wrong", () => look(delivered.slice(1))),
    ]);
    expect(code).toBe(1);
    expect(printed).toEqual([]);
    expect(explained.join("\n")).toContain("lost: 1 of 5000 never came, the first of them is event 0");
  });
});
