//! The demo, as a newcomer starts it.

import { expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ours = async (): Promise<string[]> =>
  (await readdir(tmpdir())).filter((name) => name.startsWith("pgstream-demo-"));

test("shows events handled, compares everything, and leaves nothing behind", async () => {
  const before = await ours();
  const main = join(import.meta.dir, "..", "..", "src", "main.ts");
  const child = Bun.spawn([process.execPath, main, "demo", "--for", "4s", "--port=0"], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const output = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  expect(output).toMatch(/first event handled after \d\.\d s/);
  expect(output).toContain("missing: 0");
  expect(output).toContain("the log and the store agree");
  expect((await ours()).filter((name) => !before.includes(name))).toEqual([]);
}, 60_000);
