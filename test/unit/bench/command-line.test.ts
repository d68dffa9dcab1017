import { describe, expect, test } from "bun:test";

import { readCommandLine, toldCommand } from "../../../bench/command-line.ts";

const choices = [
  { name: "latency", about: "how long" },
  { name: "catch-up", about: "how fast" },
];
const read = (...argv: readonly string[]) => readCommandLine(argv, choices);

describe("the benchmark's command line", () => {
  test("measures everything at full scale, in the rounds of each measure, when told nothing", () => {
    expect(read()).toEqual({
      only: null,
      scale: 1,
      rounds: null,
      eventsMax: null,
      soakMs: null,
      jsonFile: "bench/results/latest.json",
      chartFolder: null,
      docFile: null,
      binDir: null,
      settings: {},
    });
  });

  test("takes names, scales, counts, times and settings", () => {
    expect(
      read(
        ..."--only|latency, catch-up|--scale|quick|--rounds=5|--events|50_000_000".split("|"),
        ..."--json a.json --chart docs --doc docs/a.md".split(" "),
        ..."--bin-dir pg/bin --set shared_buffers=1GB --set wal_level=minimal".split(" "),
      ),
    ).toEqual({
      only: ["latency", "catch-up"],
      scale: 0.02,
      rounds: 5,
      eventsMax: 50_000_000,
      soakMs: null,
      jsonFile: "a.json",
      chartFolder: "docs",
      docFile: "docs/a.md",
      binDir: "pg/bin",
      settings: { shared_buffers: "1GB", wal_level: "minimal" },
    });
  });

  test("takes the time of a soak, which is all there is to measure then", () => {
    expect(read("--soak", "30m")).toMatchObject({ soakMs: 1_800_000, only: null });
  });

  test("keeps the figures of each choice in a file of their own", () => {
    const fileOf = (...argv: readonly string[]): string | null => {
      const wish = read(...argv);
      return "print" in wish ? null : wish.jsonFile;
    };
    expect(fileOf()).toBe("bench/results/latest.json");
    expect(fileOf("--only", "catch-up,latency")).toBe("bench/results/latest-catch-up-latency.json");
    expect(fileOf("--soak", "30m")).toBe("bench/results/latest-soak.json");
  });

  const mistakes = [
    ["--only", "lateness"],
    ["--scale", "0"],
    ["--scale", "big"],
    ["--rounds", "0"],
    ["--rounds", "1.5"],
    ["--events", "many"],
    ["--soak", "30"],
    ["--soak", "30m", "--only", "latency"],
    ["--set", "shared_buffers"],
    ["--set", "port=1"],
    ["--unknown"],
    ["latency"],
  ];
  for (const argv of mistakes) {
    test(`answers ${argv.join(" ")} with one line and exit code 2`, () => {
      const answer = read(...argv);
      expect(answer).toMatchObject({ exitCode: 2 });
      expect("print" in answer ? answer.print.split("\n") : []).toHaveLength(1);
    });
  }

  test("lists what there is to measure when asked for help", () => {
    const answer = read("--help");
    expect(answer).toMatchObject({ exitCode: 0 });
    expect("print" in answer ? answer.print : "").toContain("catch-up  how fast");
  });
});

test("the command is told without the place where the figures went", () => {
  const argv = "--only speed --json a/b.json --doc docs/a.md".split(" ");
  expect(toldCommand(argv)).toBe("bun run bench --only speed --doc docs/a.md");
  expect(toldCommand(["--json=a/b.json", "--scale=quick"])).toBe("bun run bench --scale=quick");
  expect(toldCommand([])).toBe("bun run bench");
});
