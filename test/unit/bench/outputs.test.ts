import { expect, test } from "bun:test";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";

import { type Question, ratioAtLeast, rowOf, type Turns } from "../../../bench/figures.ts";
import { obstacleOf, writeReport } from "../../../bench/outputs.ts";
import { markdownOf, type Report } from "../../../bench/report.ts";
import { makeTemporaryFolder } from "../../support/temporary-folder.ts";

const question: Question = {
  measure: "catch-up",
  unit: "events/s",
  limitIs: "`select`",
  must: ratioAtLeast(0.8),
  wanted: null,
};
const turns: Turns = {
  values: [81_234.5, 90_000, 100_000],
  usage: { wallSeconds: 1, serverCpuSeconds: 2, clientCpuSeconds: 0.5, othersShare: 0 },
  amount: 1_000,
  samples: [],
};
const report: Report = {
  date: "2026-01-31",
  command: "bun run bench",
  machine: { cpu: "a", cores: 2, memoryGiB: 1, os: "b" },
  versions: { pgstream: "1", commit: null, bun: "1", postgres: "18" },
  settings: {},
  scale: 1,
  rounds: null,
  seconds: 1,
  othersShareMax: 0,
  isDisturbed: false,
  rows: [rowOf(question, turns, turns)],
};

test("every place is tried before anything is measured, and left as it was", async () => {
  await using folder = await makeTemporaryFolder("pgstream-outputs-");
  const path = (name: string): string => join(folder.path, name);
  await Bun.write(path("a-file"), "kept");
  await Bun.write(path("table.md"), "<!-- bench: begin --><!-- bench: end -->");
  await Bun.write(path("plain.md"), "no place");
  await mkdir(path("a-folder"));
  const before = (await readdir(folder.path)).toSorted();
  const fine = { jsonFile: path("a-file"), chartFolder: path("."), docFile: path("table.md") };

  expect(await obstacleOf(fine)).toBeNull();
  const obstacles = {
    "--json": { jsonFile: path("a-folder") },
    "--chart": { chartFolder: path("a-file") },
    "--doc": { docFile: path("plain.md") },
    "--doc: ENOENT": { docFile: path("missing.md") },
  };
  for (const [flag, wrong] of Object.entries(obstacles)) {
    const obstacle = (await obstacleOf({ ...fine, ...wrong })) ?? "";
    expect(obstacle).toStartWith(flag);
    expect(obstacle.split("\n")).toHaveLength(1);
  }
  expect((await readdir(folder.path)).toSorted()).toEqual(before);
  expect(await Bun.file(path("a-file")).text()).toBe("kept");
});

test("a table has the figures that it was made of beside it", async () => {
  await using folder = await makeTemporaryFolder("pgstream-outputs-");
  const path = (name: string): string => join(folder.path, name);
  await Bun.write(path("table.md"), "# Title\n\n<!-- bench: begin -->\n<!-- bench: end -->\n");
  const outputs = { jsonFile: path("own.json"), chartFolder: null, docFile: path("table.md") };
  await writeReport(outputs, report, [{ name: "a.svg", svg: "<svg/>" }], () => {});

  expect((await readdir(folder.path)).toSorted()).toEqual([
    "a.svg",
    "own.json",
    "performance.json",
    "table.md",
  ]);
  const figures = (await Bun.file(path("performance.json")).json()) as Report;
  expect(figures).toEqual(report);
  expect(await Bun.file(path("table.md")).text()).toContain(markdownOf(figures));
});
