//! The benchmark, as anybody starts it, so small that it takes seconds: its figures mean nothing here, its outcome does.

import { expect, test } from "bun:test";
import { chmod, readdir } from "node:fs/promises";
import { join } from "node:path";

import { makeTemporaryFolder } from "../support/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";

const main = join(import.meta.dir, "..", "..", "bench", "main.ts");

/** Those whose command line names the folder: the server, for its data lies there. */
const processesIn = (folder: string): readonly string[] =>
  Bun.spawnSync(["ps", "-A", "-o", "args="])
    .stdout.toString()
    .split("\n")
    .filter((line) => line.includes(folder));

const startBench = (folder: string, ...args: readonly string[]) =>
  Bun.spawn([process.execPath, main, ...args], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });

interface Figures {
  readonly settings: Readonly<Record<string, string>>;
  readonly rows: readonly { readonly measure: string; readonly ratio: { readonly value: number } }[];
}

test("prints a table, writes its figures down, and leaves nothing behind", async () => {
  await using results = await makeTemporaryFolder("pgstream-bench-results-");
  await using folder = await makeTemporaryFolder("pgstream-bench-test-");
  await chmod(folder.path, 0o755); // the server may run as another user
  const jsonFile = join(results.path, "figures.json");
  const child = startBench(
    folder.path,
    ..."--scale tiny --rounds 1 --only latency,catch-up".split(" "),
    `--json=${jsonFile}`,
    `--chart=${results.path}`,
  );
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);

  expect(`${code} ${err}`).toStartWith("0 ");
  expect(out).toMatch(/^\| measure +\| pgstream +\| limit +\| ratio +\|/);
  expect(out).toMatch(/^\| catch-up +\| \*\*[\d,]+\*\* events\/s/m);
  expect(out).toMatch(/^\| latency, p99 +\| \*\*[\d.]+\*\* ms/m);
  expect(out).toMatch(/^1 round \(\*\*fewer than 3\*\*/m);
  expect(out).toContain("`fsync` on, `synchronous_commit` on, `full_page_writes` on");
  expect(err).toContain("round 1 of 1");
  const { rows, settings } = (await Bun.file(jsonFile).json()) as Figures;
  expect(rows.map(({ measure }) => measure)).toEqual(["catch-up", "latency, p50", "latency, p99"]);
  expect(rows.every(({ ratio }) => ratio.value > 0)).toBe(true);
  expect(settings["fsync"]).toBe("on");
  expect((await readdir(results.path)).toSorted()).toEqual([
    "figures.json",
    "performance-dark.svg",
    "performance-light.svg",
  ]);
  expect(await readdir(folder.path)).toEqual([]);
  expect(processesIn(folder.path)).toEqual([]);
}, 60_000);

test("leaves nothing behind when it is interrupted, and prints no figure", async () => {
  await using folder = await makeTemporaryFolder("pgstream-bench-test-");
  await chmod(folder.path, 0o755);
  const child = startBench(folder.path, "--only", "fan-out", "--json", join(folder.path, "never.json"));
  let progress = "";
  const read = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) progress += text;
  })();
  await waitFor(() => /fan-out: /.test(progress), { what: "the first measure", deadlineMs: 30_000 });
  child.kill("SIGINT");

  expect(await child.exited).toBe(130);
  await read;
  expect(await child.stdout.text()).toBe("");
  await waitFor(() => processesIn(folder.path).length === 0, { what: "the end of every process" });
  expect(await readdir(folder.path)).toEqual([]);
}, 60_000);

test("ends with one line when its server dies, and leaves nothing behind", async () => {
  await using folder = await makeTemporaryFolder("pgstream-bench-test-");
  await chmod(folder.path, 0o755);
  const child = startBench(folder.path, "--only", "fan-out", "--json", join(folder.path, "never.json"));
  let progress = "";
  const read = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) progress += text;
  })();
  await waitFor(() => /fan-out: /.test(progress), { what: "the first measure", deadlineMs: 30_000 });
  const [pidFile] = await Array.fromAsync(
    new Bun.Glob("*/data/postmaster.pid").scan({ cwd: folder.path, absolute: true }),
  );
  const [postmaster] = (await Bun.file(pidFile ?? "").text()).split("\n");
  process.kill(Number(postmaster), "SIGKILL");

  expect(await child.exited).toBe(1);
  await read;
  const told = progress.slice(progress.indexOf("bench: ")).trimEnd();
  expect(told).toMatch(/^bench: the PostgreSQL server has ended; its log said: [^\n]+$/);
  expect(await child.stdout.text()).toBe("");
  await waitFor(() => processesIn(folder.path).length === 0, { what: "the end of every process" });
  expect(await readdir(folder.path)).toEqual([]);
}, 60_000);

test("says in one line when its figures cannot be written, before anything is measured", async () => {
  await using folder = await makeTemporaryFolder("pgstream-bench-test-");
  const child = startBench(folder.path, "--only", "latency", "--json", folder.path);
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(code).toBe(2);
  expect(out).toBe("");
  expect(err).toMatch(/^bench: --json: [^\n]+\n$/);
}, 60_000);

test("refuses to measure without durability", async () => {
  await using folder = await makeTemporaryFolder("pgstream-bench-test-");
  await chmod(folder.path, 0o755);
  const child = startBench(folder.path, "--only", "latency", "--set", "fsync=off");
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toContain("fsync not on");
  expect(await readdir(folder.path)).toEqual([]);
}, 60_000);
