import { expect, test } from "bun:test";

import { makeUnlessAborted } from "../../../src/core/unless-aborted.ts";
import { outcomeOf } from "./fakes.ts";

const never = new Promise<never>(() => {});

test("gives up what it waits for when the signal aborts, and at once when it has", async () => {
  const stopping = new AbortController();
  const unlessAborted = makeUnlessAborted(stopping.signal, () => new Error("stopped"));
  expect(await unlessAborted(Promise.resolve("done"))).toBe("done");
  expect(await outcomeOf(unlessAborted(Promise.reject(new Error("failed"))))).toBe("Error: failed");
  const waits = [outcomeOf<unknown>(unlessAborted(never)), outcomeOf<unknown>(unlessAborted(never))];
  stopping.abort();
  const stopped = "Error: stopped";
  expect(await Promise.all([...waits, outcomeOf<unknown>(unlessAborted(never))])).toEqual([
    stopped,
    stopped,
    stopped,
  ]);
});

test("keeps nothing of a wait that is over", async () => {
  const stopping = new AbortController();
  let reasons = 0;
  const unlessAborted = makeUnlessAborted(stopping.signal, () => {
    reasons += 1;
    return new Error("stopped");
  });
  for (let n = 0; n < 10; n += 1) await unlessAborted(Promise.resolve());
  await outcomeOf(unlessAborted(Promise.reject(new Error("failed"))));
  stopping.abort();
  expect(reasons).toBe(0);
});
