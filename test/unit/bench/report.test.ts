import { describe, expect, test } from "bun:test";

import { drawCharts } from "../../../bench/chart.ts";
import type { BenchContext, Row } from "../../../bench/context.ts";
import {
  quantileOfTurns,
  ratioAtLeast,
  ratioAtMost,
  rowOf,
  takeTurns,
  type Turns,
} from "../../../bench/figures.ts";
import { disturbanceOf, markdownOf, replaceBlock, type Report, tableOf } from "../../../bench/report.ts";
import { measureAll, type RunContext } from "../../../bench/run.ts";
import { parseProcStat, parsePsLine, secondsBelow } from "../../../bench/usage.ts";

const usage = (othersShare = 0) => ({
  wallSeconds: 1,
  serverCpuSeconds: 2,
  clientCpuSeconds: 0.5,
  othersShare,
});
const turnsOf = (...values: readonly number[]): Turns => ({
  values,
  usage: usage(),
  amount: 1,
  samples: [],
});
const question = {
  measure: "catch-up",
  unit: "events/s" as const,
  limitIs: "`select`",
  must: ratioAtLeast(0.8),
  wanted: ratioAtLeast(0.95),
};

describe("a row", () => {
  test("has the median of the rounds' ratios, not the ratio of the medians", () => {
    const { ratio, pgstream } = rowOf(question, turnsOf(10, 20, 90), turnsOf(100, 100, 100));
    expect(pgstream).toEqual({ value: 20, min: 10, max: 90 });
    expect(ratio).toEqual({ value: 0.2, min: 0.1, max: 0.9 });
    expect(rowOf(question, turnsOf(10, 20, 90), turnsOf(10, 100, 90)).ratio?.value).toBe(1);
  });

  test("of a quantile has that of all rounds' samples together, and the spread of the rounds", () => {
    const of = (...rounds: readonly (readonly number[])[]): Turns =>
      quantileOfTurns({ ...turnsOf(), samples: rounds }, 0.5);
    // The median of the rounds' medians would be 2, and that of the ratios 1.
    const { pgstream, limit, ratio } = rowOf(
      question,
      of([1], [2], [9, 9, 9, 9]),
      of([1], [2], [3, 3, 3, 3]),
    );
    expect(pgstream).toEqual({ value: 9, min: 1, max: 9 });
    expect(limit).toEqual({ value: 3, min: 1, max: 3 });
    expect(ratio).toEqual({ value: 3, min: 1, max: 3 });
  });

  const cellOf = (row: Row, column: number): string =>
    tableOf([row]).split("\n")[2]?.split("|")[column]?.trim() ?? "";
  const verdictOf = (row: Row): string => cellOf(row, 7);
  test("says whether it reached what was asked of it, and in how many rounds", () => {
    const limit = turnsOf(100, 100, 100);
    expect(verdictOf(rowOf(question, turnsOf(70, 79, 80), limit))).toBe("missed (1 of 3)");
    expect(verdictOf(rowOf(question, turnsOf(79, 80, 99), limit))).toBe("reached (2 of 3)");
    expect(verdictOf(rowOf(question, turnsOf(95, 96, 97), limit))).toBe("wanted (3 of 3)");
    expect(rowOf(question, turnsOf(79, 80, 99), limit).must?.inRounds).toEqual({ reached: 2, of: 3 });
    const atMost = { ...question, must: ratioAtMost(1.1) };
    expect(verdictOf(rowOf(atMost, turnsOf(2, 1, 2), turnsOf(1, 1, 1)))).toBe("missed (1 of 3)");
    expect(verdictOf(rowOf({ ...question, must: null, wanted: null }, turnsOf(2), null))).toBe("–");
    const judgedOnce: Row = { ...rowOf(question, turnsOf(1), null), must: { text: "it", isReached: true } };
    expect(verdictOf({ ...judgedOnce, wanted: null })).toBe("reached");
  });

  test("shows a spread of several rounds, and none of a single one", () => {
    expect(cellOf(rowOf(question, turnsOf(10, 20, 30), turnsOf(100, 100, 100)), 4)).toBe(
      "0.20 × (0.10 to 0.30)",
    );
    expect(cellOf(rowOf(question, turnsOf(641), turnsOf(100)), 4)).toBe("6.41 ×");
  });

  test("is disturbed when others took more than a tenth of the machine in any turn", () => {
    const row = rowOf(question, turnsOf(1), { ...turnsOf(1), usage: usage(0.11) });
    expect(disturbanceOf([row])).toEqual({ othersShareMax: 0.11, isDisturbed: true });
    expect(disturbanceOf([rowOf(question, turnsOf(1), turnsOf(1))]).isDisturbed).toBe(false);
    // A soak looks at other things, and claims no quiet.
    expect(disturbanceOf([{ ...row, usage: null, limitUsage: null }]).othersShareMax).toBeNull();
  });
});

test("measured thing and limit take turns, what they find is prepared, and who goes first alternates", async () => {
  const order: string[] = [];
  const context = {
    rounds: 3,
    say: () => {},
    signal: new AbortController().signal,
    checkpoint: async () => await Promise.resolve(),
  } as Partial<BenchContext> as BenchContext;
  const contender = (name: string) => ({
    name,
    run: async (round: number) => {
      order.push(`${name}${round}`);
      return await Promise.resolve({ value: round, usage: usage(), amount: 10 });
    },
  });
  const prepare = async (): Promise<void> => void (await Promise.resolve(order.push("|")));
  const [first, second] = await takeTurns(context, [contender("a"), contender("b")], prepare);
  expect(order).toEqual(["|", "a0", "b0", "|", "b1", "a1", "|", "a2", "b2"]);
  expect(first.values).toEqual([0, 1, 2]);
  expect(second.usage.wallSeconds).toBe(3);
  expect(second.amount).toBe(30);
});

describe("rounds", () => {
  const roundsOf = async (context: Partial<RunContext>, rounds?: number): Promise<number> => {
    let taken = 0;
    const run = async (given: BenchContext) => {
      taken = given.rounds;
      return await Promise.resolve({ rows: [] });
    };
    const shared = {
      say: () => {},
      signal: new AbortController().signal,
      rounds: null,
      scale: 1,
      ...context,
    };
    const measure = { name: "it", about: "", run, ...(rounds !== undefined && { rounds }) };
    await measureAll([measure], shared as Partial<RunContext> as RunContext);
    return taken;
  };

  test("are as many as was said, else as the measure has it, and three below full scale", async () => {
    expect(await roundsOf({}, 9)).toBe(9);
    expect(await roundsOf({})).toBe(3);
    expect(await roundsOf({ scale: 0.04 }, 9)).toBe(3);
    expect(await roundsOf({ scale: 0.04, rounds: 5 }, 9)).toBe(5);
  });

  test("are told, and too few are told of", () => {
    const report: Report = {
      date: "2026-01-31",
      command: "bun run bench",
      machine: { cpu: "a", cores: 2, memoryGiB: 1, os: "b" },
      versions: { pgstream: "1", commit: null, bun: "1", postgres: "18" },
      settings: {},
      scale: 1,
      rounds: null,
      seconds: 1,
      othersShareMax: 0,
      isDisturbed: false,
      rows: [],
    };
    expect(markdownOf(report)).toContain("as many as the verdict says");
    expect(markdownOf({ ...report, rounds: 5 })).toContain("\n5 rounds in turns, median");
    expect(markdownOf({ ...report, rounds: 2 })).toContain("2 rounds in turns (**fewer than 3**");
    expect(markdownOf({ ...report, rounds: 1 })).toContain("1 round (**fewer than 3**");
  });
});

test("the block between the markers is replaced, and nothing else", () => {
  const text = "before\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nafter\n";
  expect(replaceBlock(text, "new")).toBe(
    "before\n<!-- bench: begin -->\n\nnew\n\n<!-- bench: end -->\nafter\n",
  );
  expect(() => replaceBlock("no place", "new")).toThrow("no place for the table");
});

test("the chart is drawn for light and for dark pages, with the figures in it", () => {
  const pictures = drawCharts([rowOf(question, turnsOf(81_234), turnsOf(100_000))]);
  expect(pictures.map(({ name }) => name)).toEqual(["performance-light.svg", "performance-dark.svg"]);
  for (const { svg } of pictures) {
    expect(svg).toStartWith("<svg");
    expect(svg).toContain("81 k");
    expect(svg).toContain("catch-up");
  }
  expect(drawCharts([])).toEqual([]);
});

describe("CPU time", () => {
  test("is read from /proc, whatever the process calls itself", () => {
    const line = "42 (a) b (c) S 7 1 1 0 -1 0 0 0 0 0 100 50 20 30 20 0 1 0 5 0 0";
    expect(parseProcStat(line)).toEqual({ pid: 42, parent: 7, seconds: 2 });
    expect(parseProcStat(line, "1600000000 5 9")).toEqual({ pid: 42, parent: 7, seconds: 2.1 });
  });

  test("is read from ps where there is no /proc", () => {
    expect(parsePsLine("  42     7   0:01.50")).toEqual({ pid: 42, parent: 7, seconds: 1.5 });
    expect(parsePsLine("42 7 1-01:00:02").seconds).toBe(90_002);
  });

  test("is that of a process and all below it, but for one branch", () => {
    const all = [
      { pid: 1, parent: 0, seconds: 1 },
      { pid: 2, parent: 1, seconds: 10 },
      { pid: 3, parent: 2, seconds: 100 },
      { pid: 4, parent: 1, seconds: 1_000 },
      { pid: 5, parent: 9, seconds: 10_000 },
    ];
    expect(secondsBelow(all, 1)).toBe(1_111);
    expect(secondsBelow(all, 1, 2)).toBe(1_001);
  });
});
