import { expect, test } from "bun:test";

import { type Outcome, rowsOf } from "../../../bench/measures/mixed-outcome.ts";

const outcome: Outcome = {
  forMs: 60_000,
  events: 400,
  eventsPerSecond: 10,
  usage: { wallSeconds: 1, serverCpuSeconds: 1, clientCpuSeconds: 1, othersShare: 0 },
  drainMs: 100,
  published: [100, 90, 110, 100],
  subscribers: [400, 390, 200].map((handled) => ({ handled, lagP50Ms: 1, lagP99Ms: 2, lagMsMax: 3 })),
};
const starving = { handled: 199, lagP50Ms: 1, lagP99Ms: 2, lagMsMax: 3 };

const cases: Readonly<Record<string, readonly [Partial<Outcome>, boolean]>> = {
  "everybody gets at least half of what another gets": [{}, true],
  "a publisher starves": [{ published: [100, 54, 110, 100] }, false],
  "a subscriber starves": [{ subscribers: [...outcome.subscribers, starving] }, false],
  "the last subscriber is done long after the last publish": [{ drainMs: 5_001 }, false],
};

test.each(Object.entries(cases))("mixed: %s", (_, [change, isReached]) => {
  const [flatOut] = rowsOf({ ...outcome, ...change }, outcome, undefined);
  expect(flatOut?.must).toEqual({ text: "nobody starves, lag bounded", isReached });
});
