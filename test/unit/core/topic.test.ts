import { describe, expect, test } from "bun:test";

import { isTopicName, parseTopicName, parseTopicPatterns } from "../../../src/core/topic.ts";

const longest = "a".repeat(249);

describe("names", () => {
  test.each(["courses", "courses.created", "A-1_b.2", "_", "-", longest])("%p is one", (name) => {
    expect(parseTopicName(name)).toBe(name);
  });

  test.each([
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a b",
    "a/b",
    "ä",
    "a\n",
    "a\u0000",
    "*",
    "a.*",
    ">",
    "a.>",
    "courses,policies",
    `${longest}a`,
    undefined,
    null,
    42,
  ])("%p is none", (name) => {
    expect(isTopicName(name)).toBe(false);
    expect(() => parseTopicName(name)).toThrow(expect.objectContaining({ code: "invalid_topic" }));
  });
});

describe("patterns", () => {
  const wants = (patterns: string[], name: string): boolean => parseTopicPatterns(patterns).matches(name);

  test.each([
    ["courses", "courses"],
    ["courses.*", "courses.created"],
    ["*.created", "courses.created"],
    ["*", "courses"],
    ["a.*.c", "a.b.c"],
    [">", "a"],
    [">", "a.b.c.d"],
    ["a.>", "a.b"],
    ["a.>", "a.b.c"],
    ["*.>", "a.b"],
  ])("%p wants %p", (pattern, name) => {
    expect(wants([pattern], name)).toBe(true);
  });

  test.each([
    ["courses", "courses.created"],
    ["courses", "course"],
    ["courses", "Courses"],
    ["courses.*", "courses"],
    ["courses.*", "courses.a.b"],
    ["*", "a.b"],
    ["a.>", "a"],
    ["a.>", "ab.c"],
    ["*.>", "a"],
    ["a.*.c", "a.b.d"],
    ["a.*.c", "a.c"],
  ])("%p does not want %p", (pattern, name) => {
    expect(wants([pattern], name)).toBe(false);
  });

  test.each([
    [["a*"]],
    [["*a"]],
    [["a.>.b"]],
    [[">.a"]],
    [["a.>>"]],
    [["**"]],
    [["a..b"]],
    [[""]],
    [["a", " b"]],
    [["a.%"]],
    [[]],
  ])("%p is refused", (patterns) => {
    expect(() => parseTopicPatterns(patterns)).toThrow(expect.objectContaining({ code: "invalid_topic" }));
  });

  test("several want what any of them wants; only a lone > is everything", () => {
    const filter = parseTopicPatterns(["courses", "policies.*", "courses"]);
    expect(["courses", "policies.new", "policies", "x"].filter(filter.matches)).toEqual([
      "courses",
      "policies.new",
    ]);
    expect(filter.all).toBe(false);
    expect(parseTopicPatterns(["a.>"]).all).toBe(false);
    expect(parseTopicPatterns(["*"]).all).toBe(false);
    expect(parseTopicPatterns(["courses", ">"]).all).toBe(true);
  });
});

test("a wildcard that is no whole token is told of as it was given", () => {
  for (const pattern of ["*.inv*", "a.>.b", "cour*", ">>"]) {
    expect(() => parseTopicPatterns([pattern])).toThrow(`topic pattern "${pattern}" is not one`);
  }
});
