import { expect, test } from "bun:test";

import { readCounts } from "../../../scripts/test-counts.ts";

const output = `(pass) 3 fail
(skip) one that is left out

\u001B[32m 12 pass\u001B[0m
\u001B[33m 1 skip\u001B[0m
 2 fail
 30 expect() calls
Ran 15 tests across 4 files. [1.20s]
`;

test("the counts are those of the summary, coloured or not, and not what a title says", () => {
  expect(readCounts(output)).toEqual({ passed: 12, failed: 2, skipped: 1 });
});

test("a run that died before its summary has counted nothing", () => {
  expect(readCounts("(pass) a test\nSegmentation fault\n")).toEqual({ passed: 0, failed: 0, skipped: 0 });
});
