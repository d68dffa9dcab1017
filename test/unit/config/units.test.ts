import { describe, expect, test } from "bun:test";

import { bytes, duration, timerMsMax } from "../../../src/config/units.ts";

const size = bytes({ min: 1, max: 10e9 });

describe("a duration", () => {
  test.each([
    ["500ms", 500],
    ["90s", 90_000],
    ["5min", 300_000],
    ["5m", 300_000],
    ["2h", 7_200_000],
    ["7d", 604_800_000],
    ["7 days", 604_800_000],
    ["1 week", 604_800_000],
    ["1.5h", 5_400_000],
  ])("%s is %d ms", (text, value) => {
    expect(duration().parse(text)).toEqual({ value });
  });

  test.each([
    "5",
    "0",
    "",
    " ",
    "-1s",
    "+1s",
    "Infinity",
    "Infinity s",
    "1e3s",
    "1M",
    "s",
    "1s 2s",
    "5  s",
    "1 constructor",
    "1s\n",
  ])("%j is refused", (text) => {
    expect(duration().parse(text)).toHaveProperty("problem");
  });

  test("of more than 100 years is refused, because it overflows somewhere", () => {
    expect(duration().parse("36525 days")).toEqual({ value: 36_525 * 86_400_000 });
    expect(duration().parse("36526 days")).toHaveProperty("problem");
    expect(duration().parse("999999999999999w")).toHaveProperty("problem");
  });

  test("below its minimum is refused, and so is one that rounds to nothing", () => {
    expect(duration({ minMs: 1_000 }).parse("999ms")).toHaveProperty("problem");
    expect(duration({ maxMs: timerMsMax }).parse("25 days")).toEqual({
      problem: "is too long: at most 24 days",
    });
    expect(duration().parse("0.1ms")).toHaveProperty("problem");
  });

  test("may be a bare 0 where 0 means something", () => {
    expect(duration({ minMs: 0 }).parse("0")).toEqual({ value: 0 });
    expect(duration({ minMs: 0 }).parse("1")).toHaveProperty("problem");
  });
});

describe("a size", () => {
  test.each([
    ["1", 1],
    ["1000", 1_000],
    ["1kB", 1_000],
    ["512KiB", 524_288],
    ["1MB", 1_000_000],
    ["1 MiB", 1_048_576],
    ["10GB", 10e9],
  ])("%s is %d bytes", (text, value) => {
    expect(size.parse(text)).toEqual({ value });
  });

  test.each(["", "-1", "0", "1mb", "1M", "MB", "Infinity", "11GB", "1toString"])("%j is refused", (text) => {
    expect(size.parse(text)).toHaveProperty("problem");
  });
});
