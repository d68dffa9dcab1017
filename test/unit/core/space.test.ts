import { expect, test } from "bun:test";

import { makeSpace } from "../../../src/core/publish/space.ts";

/** Takes room and notes who got in, in order. */
const makeQueue = (eventsMax: number, bytesMax: number) => {
  const space = makeSpace(eventsMax, bytesMax);
  const entered: string[] = [];
  const take = (name: string, events: number, bytes: number): void => {
    space.take(events, bytes, () => entered.push(name));
  };
  return { space, take, entered };
};

test("who fits enters at once, who does not waits for room", () => {
  const { space, take, entered } = makeQueue(10, 100);
  take("a", 6, 10);
  take("b", 4, 10);
  take("c", 1, 10);
  expect(entered).toEqual(["a", "b"]);
  expect(space.taken()).toBe(11);
  space.give(4, 10);
  expect(entered).toEqual(["a", "b", "c"]);
});

test("bytes are a limit of their own", () => {
  const { space, take, entered } = makeQueue(10, 100);
  take("a", 1, 90);
  take("b", 1, 20);
  expect(entered).toEqual(["a"]);
  space.give(1, 90);
  expect(entered).toEqual(["a", "b"]);
});

test("nobody overtakes: a small call behind a large one waits, so that the large one gets its turn", () => {
  const { space, take, entered } = makeQueue(10, 100);
  take("a", 8, 1);
  take("large", 9, 1);
  take("small", 1, 1);
  expect(entered).toEqual(["a"]);
  space.give(8, 1);
  expect(entered).toEqual(["a", "large", "small"]);
});

test("what is larger than all the room enters alone, when all is free", () => {
  const { space, take, entered } = makeQueue(10, 100);
  take("a", 1, 1);
  take("huge", 50, 5_000);
  take("b", 1, 1);
  expect(entered).toEqual(["a"]);
  space.give(1, 1);
  expect(entered).toEqual(["a", "huge"]);
  space.give(50, 5_000);
  expect(entered).toEqual(["a", "huge", "b"]);
  space.give(1, 1);
  expect(space.taken()).toBe(0);
});

test("whoever enters may leave at once, however many stand in line", () => {
  const { space, take, entered } = makeQueue(1, 1);
  take("first", 1, 1);
  let passed = 0;
  for (let n = 0; n < 100_000; n += 1) {
    space.take(1, 1, () => {
      passed += 1;
      space.give(1, 1);
    });
  }
  take("last", 1, 1);
  space.give(1, 1);
  expect(passed).toBe(100_000);
  expect(entered).toEqual(["first", "last"]);
});

test("who has waited takes as much as who has not, and gives it back", () => {
  const { space, take, entered } = makeQueue(10, 100);
  take("a", 1, 100);
  for (let round = 0; round < 5; round += 1) {
    entered.length = 0;
    take("b", 1, 60);
    take("c", 1, 60);
    expect(entered).toEqual([]);
    space.give(1, 100);
    expect(entered).toEqual(["b"]);
    space.give(1, 60);
    expect(entered).toEqual(["b", "c"]);
    take("a", 1, 40);
    expect(entered).toEqual(["b", "c", "a"]);
    space.give(1, 60);
    take("d", 1, 60);
    expect(entered).toEqual(["b", "c", "a", "d"]);
    space.give(1, 40);
    space.give(1, 60);
    take("a", 1, 100);
  }
});
