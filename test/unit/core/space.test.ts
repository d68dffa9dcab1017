import { expect, test } from "bun:test";

import { makeSpace } from "../../../src/core/space.ts";

/** Takes room and notes who got in, in order. */
const makeQueue = (eventsMax: number, bytesMax: number) => {
  const space = makeSpace(eventsMax, bytesMax);
  const entered: string[] = [];
  const take = (name: string, events: number, bytes: number): void => {
    void space.take(events, bytes).then(() => entered.push(name));
  };
  const settled = async (): Promise<string[]> => {
    for (let n = 0; n < 5; n += 1) await Promise.resolve();
    return [...entered];
  };
  return { space, take, settled };
};

test("who fits enters at once, who does not waits for room", async () => {
  const { space, take, settled } = makeQueue(10, 100);
  take("a", 6, 10);
  take("b", 4, 10);
  take("c", 1, 10);
  expect(await settled()).toEqual(["a", "b"]);
  expect(space.taken()).toBe(11);
  space.give(4, 10);
  expect(await settled()).toEqual(["a", "b", "c"]);
});

test("bytes are a limit of their own", async () => {
  const { space, take, settled } = makeQueue(10, 100);
  take("a", 1, 90);
  take("b", 1, 20);
  expect(await settled()).toEqual(["a"]);
  space.give(1, 90);
  expect(await settled()).toEqual(["a", "b"]);
});

test("nobody overtakes: a small call behind a large one waits, so that the large one gets its turn", async () => {
  const { space, take, settled } = makeQueue(10, 100);
  take("a", 8, 1);
  take("large", 9, 1);
  take("small", 1, 1);
  expect(await settled()).toEqual(["a"]);
  space.give(8, 1);
  expect(await settled()).toEqual(["a", "large", "small"]);
});

test("what is larger than all the room enters alone, when all is free", async () => {
  const { space, take, settled } = makeQueue(10, 100);
  take("a", 1, 1);
  take("huge", 50, 5_000);
  take("b", 1, 1);
  expect(await settled()).toEqual(["a"]);
  space.give(1, 1);
  expect(await settled()).toEqual(["a", "huge"]);
  space.give(50, 5_000);
  expect(await settled()).toEqual(["a", "huge", "b"]);
  space.give(1, 1);
  expect(space.taken()).toBe(0);
});
