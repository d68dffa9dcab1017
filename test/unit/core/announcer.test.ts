import { expect, test } from "bun:test";

import { type Announcer, makeAnnouncer, tickIds } from "../../../src/core/announcer.ts";
import { makeFakeLogger, settle } from "./fakes.ts";

const setup = () => {
  const sent: string[] = [];
  let inFlight = 0;
  let inFlightMost = 0;
  let gate: Promise<void> = Promise.resolve();
  const failing = new Set<string>();
  const send = async (what: string): Promise<void> => {
    inFlight += 1;
    inFlightMost = Math.max(inFlightMost, inFlight);
    await gate;
    inFlight -= 1;
    const kind = what.split(" ")[0] ?? "";
    if (failing.has(kind)) throw new Error(`planted: ${what}`);
    sent.push(what);
  };
  const announcer: Announcer = makeAnnouncer(
    {
      notify: async (topics) => await send(`notify ${[...topics].toSorted().join(",")}`),
      tick: async () => await send("tick"),
    },
    makeFakeLogger(),
  );
  const hold = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    return resolve;
  };
  return { announcer, sent, failing, hold, inFlightMost: () => inFlightMost };
};

test("at most one hint is in flight, and the next carries everything that happened meanwhile", async () => {
  const { announcer, sent, hold, inFlightMost } = setup();
  const release = hold();
  announcer.announce(["a"], 1n);
  for (let n = 2n; n <= 500n; n += 1n) announcer.announce([n % 2n === 0n ? "b" : "c"], n);
  await settle();
  expect(sent).toEqual([]);
  release();
  await announcer.settled();
  expect(sent).toEqual(["notify a", "notify b,c"]);
  expect(inFlightMost()).toBe(1);
});

test("nothing is sent twice: a settled announcer sends again only when something new happened", async () => {
  const { announcer, sent } = setup();
  announcer.announce(["a"], 1n);
  await announcer.settled();
  await announcer.settled();
  announcer.announce(["a"], 2n);
  await announcer.settled();
  expect(sent).toEqual(["notify a", "notify a"]);
});

test("a tick is asked for each time the ids cross a multiple of 10,000, and only then", async () => {
  const { announcer, sent } = setup();
  for (const id of [
    1n,
    tickIds - 1n,
    tickIds,
    tickIds + 1n,
    2n * tickIds - 1n,
    5n * tickIds + 7n,
    5n * tickIds + 8n,
  ]) {
    announcer.announce(["a"], id);
    await announcer.settled();
  }
  expect(sent.filter((it) => it === "tick")).toHaveLength(2);
  expect(sent.indexOf("tick")).toBe(2);
  expect(sent.at(-3)).toBe("tick");
});

test("an older id, answered late, asks for no tick of its own", async () => {
  const { announcer, sent } = setup();
  announcer.announce(["a"], 3n * tickIds);
  announcer.announce(["a"], 1n);
  announcer.announce(["a"], 3n * tickIds + 1n);
  await announcer.settled();
  expect(sent.filter((it) => it === "tick")).toHaveLength(1);
});

test("a hint that fails is swallowed, and the next goes out", async () => {
  const { announcer, sent, failing } = setup();
  failing.add("notify");
  announcer.announce(["a"], 1n);
  await announcer.settled();
  failing.clear();
  announcer.announce(["b"], 2n);
  await announcer.settled();
  expect(sent).toEqual(["notify b"]);
});

test("a tick that fails does not take the hint with it", async () => {
  const { announcer, sent, failing } = setup();
  failing.add("tick");
  announcer.announce(["a"], tickIds);
  await announcer.settled();
  expect(sent).toEqual(["notify a"]);
});
