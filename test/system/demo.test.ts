//! The demo, as a newcomer starts it.

import { expect, test } from "bun:test";
import { chmod, readdir } from "node:fs/promises";
import { join } from "node:path";

import { makeTemporaryFolder } from "../support/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";

const main = join(import.meta.dir, "..", "..", "src", "main.ts");

/** Those whose command line names the folder: the server, for its data lies there. */
const processesIn = (folder: string): readonly string[] =>
  Bun.spawnSync(["ps", "-A", "-o", "args="])
    .stdout.toString()
    .split("\n")
    .filter((line) => line.includes(folder));

test("shows events handled, compares everything, and leaves no process and no file behind", async () => {
  await using folder = await makeTemporaryFolder("pgstream-demo-test-");
  await chmod(folder.path, 0o755); // the server may run as another user
  const child = Bun.spawn([process.execPath, main, "demo", "--for", "4s", "--port=0"], {
    env: { ...process.env, TMPDIR: folder.path },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    let output = "";
    const read = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) output += text;
    })();
    await waitFor(() => /first event handled after \d\.\d s/.test(output), {
      what: "the first event",
      deadlineMs: 30_000,
    });
    expect(processesIn(folder.path).length).toBeGreaterThan(0);

    expect(await child.exited).toBe(0);
    await read;
    expect(output).toContain("missing: 0");
    expect(output).toContain("extra: 0");
    expect(output).toContain("the log and the store agree");
    expect(await readdir(folder.path)).toEqual([]);
    expect(processesIn(folder.path)).toEqual([]);
  } finally {
    child.kill("SIGTERM");
    await child.exited;
  }
}, 60_000);
