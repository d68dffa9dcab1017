//! The demo, ended by whoever watched it.

import { expect, test } from "bun:test";
import { chmod, readdir } from "node:fs/promises";
import { join } from "node:path";

import { makeTemporaryFolder } from "../../src/adapters/runtime/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";

const main = join(import.meta.dir, "..", "..", "src", "main.ts");

test("Ctrl-C ends the demo as its time would: it compares everything, and leaves no file behind", async () => {
  await using folder = await makeTemporaryFolder("pgstream-demo-test-");
  await chmod(folder.path, 0o755); // the server may run as another user
  const child = Bun.spawn([process.execPath, main, "demo", "--port=0"], {
    env: { ...process.env, TMPDIR: folder.path },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    let output = "";
    const read = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) output += text;
    })();
    await waitFor(() => output.includes("first event handled"), { what: "an event", deadlineMs: 30_000 });
    child.kill("SIGINT");
    expect(await child.exited).toBe(0);
    await read;
    expect(output).toContain("the log and the store agree");
    expect(await readdir(folder.path)).toEqual([]);
  } finally {
    child.kill("SIGTERM");
    await child.exited;
  }
}, 60_000);
