import { describe, expect, test } from "bun:test";

import type { Event, Json } from "../../../src/core/event.ts";
import { projectBatch } from "../../../src/features/handlers.ts";
import { courseData, eventOf, policyData } from "./sample-event.ts";

const failureOf = (events: readonly Event[]): unknown => {
  try {
    projectBatch(events);
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
};

describe("the example application", () => {
  test("makes a course of CourseCreated and a policy of PolicyUpdated, in the batch's order", () => {
    const events = [
      eventOf("courses", "CourseCreated", courseData, 7n),
      eventOf("policies", "PolicyUpdated", policyData, 8n),
    ];
    expect(projectBatch(events)).toEqual({
      writes: [
        { collection: "courses", id: "c-1", document: courseData, eventId: 7n },
        { collection: "policies", id: "p-1", document: policyData, eventId: 8n },
      ],
      unknown: [],
    });
  });

  test("leads nowhere with a type it does not know, or one on another's topic, and tells", () => {
    const events = [
      eventOf("courses", "CourseRenamed", courseData),
      eventOf("policies", "CourseCreated", courseData),
      eventOf("courses", null, courseData),
    ];
    expect(projectBatch(events)).toEqual({
      writes: [],
      unknown: [
        { topic: "courses", type: "CourseRenamed" },
        { topic: "policies", type: "CourseCreated" },
        { topic: "courses", type: null },
      ],
    });
  });

  test("leaves out fields it does not know", () => {
    const [write] = projectBatch([
      eventOf("courses", "CourseCreated", { ...courseData, $where: "x", Extra: 1 }),
    ]).writes;
    expect(write?.document).toEqual(courseData);
  });

  test("takes the local timestamps of older producers", () => {
    const data = { ...courseData, CreatedAt: "2022-03-04T05:06:07.1234567" };
    expect(projectBatch([eventOf("courses", "CourseCreated", data)]).writes).toHaveLength(1);
  });

  const bad: readonly (readonly [string, Json, string])[] = [
    ["a field missing", { ...courseData, Name: null }, "Name"],
    ["an id that is an object", { ...courseData, CourseId: { $ne: null } }, "CourseId"],
    ["an empty id", { ...courseData, CourseId: "" }, "CourseId"],
    ["an id with a line break", { ...courseData, CourseId: "a\nb" }, "CourseId"],
    ["a length in words", { ...courseData, Length: "long" }, "Length"],
    ["a time that is none", { ...courseData, CreatedAt: "yesterday" }, "CreatedAt"],
    ["no object at all", [1, 2], "expected object"],
  ];
  for (const [what, data, where] of bad) {
    test(`fails on a known type with ${what}, naming the event in one line`, () => {
      const failure = failureOf([eventOf("courses", "CourseCreated", data, 2n ** 53n + 1n)]);
      expect(failure).toMatchObject({
        code: "handler_failed",
        retryable: false,
        details: { eventId: "9007199254740993", topic: "courses", type: "CourseCreated" },
      });
      const { message } = failure as Error;
      expect(message).toContain("9007199254740993");
      expect(message).toContain(where);
      expect(message).not.toContain("\n");
    });
  }

  test("fails in the same way on data that is not JSON", () => {
    const event: Event = Object.defineProperty(eventOf("courses", "CourseCreated", null), "data", {
      get: () => JSON.parse("{") as Json,
    });
    expect(failureOf([event])).toMatchObject({ code: "handler_failed" });
  });
});
