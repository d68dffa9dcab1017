import { describe, expect, test } from "bun:test";

import { RunError } from "../../../bench/context.ts";
import { exitCodeOf } from "../../../bench/run.ts";
import { makeServerLog } from "../../../bench/server-log.ts";
import { obstacleOf, quietMsMaxFor, type Standing, startWatch } from "../../../bench/watch.ts";

const line = (level: string, text: string): string => `2026-01-31 12:00:00.000 UTC [42] ${level}:  ${text}`;

describe("a run cannot go on", () => {
  const fine: Standing = { hasServerEnded: false, fatalLine: null, quietMs: 1_000, quietMsMax: 2_000 };
  const cases: Readonly<Record<string, readonly [Partial<Standing>, string | null]>> = {
    "but here it can": [{}, null],
    "without its server": [{ hasServerEnded: true }, "the PostgreSQL server has ended"],
    "with a server past helping": [{ fatalLine: "PANIC" }, "the PostgreSQL server is in trouble"],
    "when nothing moves": [{ quietMs: 2_400 }, "nothing has moved for 2 s"],
  };
  test.each(Object.entries(cases))("%s", (_, [standing, obstacle]) => {
    expect(obstacleOf({ ...fine, ...standing })).toBe(obstacle);
  });

  test("and a long log may be silent for longer", () => {
    expect(quietMsMaxFor(0.04, null)).toBe(180_000);
    expect(quietMsMaxFor(1, 50_000_000)).toBe(450_000);
    expect(quietMsMaxFor(3, null)).toBe(540_000);
  });
});

test("the server's log is known by its last entry, and by the first that it does not get over", () => {
  const log = makeServerLog();
  expect([log.last(), log.fatal()]).toEqual([null, null]);
  log.add(line("ERROR", "canceling statement due to lock timeout"));
  log.add(line("STATEMENT", "select 1"));
  expect([log.last(), log.fatal()]).toEqual([line("ERROR", "canceling statement due to lock timeout"), null]);
  const full = line("ERROR", 'could not extend file "base/1/2": No space left on device');
  log.add(full);
  log.add(line("PANIC", "could not write to file: No space left on device"));
  log.add(line("LOG", "shutting down"));
  expect([log.last(), log.fatal()]).toEqual([line("LOG", "shutting down"), full]);
});

describe("a watch", () => {
  const watchOver = (hasServerEnded: () => boolean) => {
    const log = makeServerLog();
    log.add(line("FATAL", "the last of it"));
    return startWatch({ hasServerEnded, log, quietMs: () => 0, quietMsMax: 1 });
  };

  test("ends the run with one line and exit code 1", async () => {
    using watch = watchOver(() => true);
    const said: string[] = [];
    const code = await exitCodeOf(
      async () => await watch.failed,
      new AbortController().signal,
      (it) => void said.push(it),
    );
    expect(code).toBe(1);
    expect(said).toEqual([
      `the PostgreSQL server has ended; its log said: ${line("FATAL", "the last of it")}`,
    ]);
  });

  test("knows better than who met the end of the server as a failure of something else", async () => {
    using gone = watchOver(() => true);
    expect(await gone.explain(new Error("connection closed"))).toBeInstanceOf(RunError);
    using fine = watchOver(() => false);
    const error = new Error("something else");
    expect(await fine.explain(error)).toBe(error);
  });
});
