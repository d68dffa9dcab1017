import { expect, test } from "bun:test";

import { keepTrying } from "../../src/core/keep-trying.ts";

const setup = (failures: number) => {
  const stopping = new AbortController();
  const waits: number[] = [];
  let calls = 0;
  const work = async (): Promise<string> => {
    calls += 1;
    if (calls <= failures) throw new Error(`failure ${calls}`);
    return await Promise.resolve("done");
  };
  const options = {
    backoff: { delayMsMin: 10, delayMsMax: 40 },
    clock: {
      now: () => 0,
      sleep: async (ms: number) => {
        waits.push(ms);
        await Promise.resolve();
      },
    },
    random: () => 0.5,
    signal: stopping.signal,
    shouldRetry: (_error: unknown, _attempt: number) => true,
  };
  return { work, options, waits, stopping, calls: () => calls };
};

test("work that fails for a while is tried again, ever more slowly, until it succeeds", async () => {
  const { work, options, waits } = setup(4);
  expect(await keepTrying(work, options)).toBe("done");
  expect(waits).toEqual([10, 20, 20, 20]);
});

test("a failure that waiting does not mend is thrown at once", async () => {
  const { work, options, calls } = setup(9);
  const shouldRetry = (_error: unknown, attempt: number) => attempt < 2;
  let thrown: unknown;
  await keepTrying(work, { ...options, shouldRetry }).catch((error: unknown) => {
    thrown = error;
  });
  expect(thrown).toEqual(new Error("failure 3"));
  expect(calls()).toBe(3);
});

test("it is given up when the signal aborts during a wait, and also during the work", async () => {
  const waiting = setup(9);
  const sleep = async (): Promise<void> => {
    waiting.stopping.abort();
    await Promise.resolve();
  };
  expect(await keepTrying(waiting.work, { ...waiting.options, clock: { now: () => 0, sleep } })).toBeNull();
  expect(waiting.calls()).toBe(1);

  const working = setup(0);
  const abortingWork = async (): Promise<string> => {
    working.stopping.abort();
    return await Promise.reject(new Error("the connection was closed"));
  };
  expect(await keepTrying(abortingWork, working.options)).toBeNull();
  const shouldRetry = (): boolean => false;
  const cutOff = setup(0);
  const cutOffWork = async (): Promise<string> => {
    cutOff.stopping.abort();
    return await Promise.reject(new Error("the connection was closed"));
  };
  expect(await keepTrying(cutOffWork, { ...cutOff.options, shouldRetry })).toBeNull();
});

test("nothing is tried after the signal", async () => {
  const { work, options, stopping, calls } = setup(0);
  stopping.abort();
  expect(await keepTrying(work, options)).toBeNull();
  expect(calls()).toBe(0);
});
