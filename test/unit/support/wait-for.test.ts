import { expect, test } from "bun:test";

import { waitFor } from "../../support/wait-for.ts";

test("it returns what the condition gave, also zero and the empty string", async () => {
  let asked = 0;
  expect(await waitFor(() => ((asked += 1) < 3 ? null : asked), { what: "3", pollIntervalMs: 1 })).toBe(3);
  expect(await waitFor(() => 0, { what: "zero" })).toBe(0);
  expect(await waitFor(() => "", { what: "nothing" })).toBe("");
});

test("it says what it waited for, and what was thrown last", async () => {
  const fails = (): never => {
    throw new Error("planted");
  };
  const options = { what: "a wonder", deadlineMs: 5, pollIntervalMs: 1 };
  const error = await waitFor(fails, options).catch((caught: unknown) => caught);
  expect(error).toMatchObject({
    message: "timed out after 5 ms waiting for a wonder",
    cause: { message: "planted" },
  });
});
