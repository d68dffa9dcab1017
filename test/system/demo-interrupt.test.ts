//! The demo, ended by whoever watched it.

import { expect, test } from "bun:test";
import { chmod, readdir } from "node:fs/promises";
import { join } from "node:path";

import { makeTemporaryFolder } from "../support/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";

const main = join(import.meta.dir, "..", "..", "src", "main.ts");

/** In a folder for temporary files that is its alone, until its first event has been handled. */
const startDemo = async () => {
  const folder = await makeTemporaryFolder("pgstream-demo-test-");
  await chmod(folder.path, 0o1777); // the server may run as another user, who has to remove what is in there
  const child = Bun.spawn([process.execPath, main, "demo", "--port=0"], {
    env: { ...process.env, TMPDIR: folder.path },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const read = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) output += text;
  })();
  const dispose = async (): Promise<void> => {
    child.kill("SIGTERM");
    await child.exited;
    await folder[Symbol.asyncDispose]();
  };
  await waitFor(() => output.includes("first event handled"), { what: "an event", deadlineMs: 30_000 });
  const ended = async (): Promise<string> => {
    await read;
    return output;
  };
  return { child, folder: folder.path, ended, [Symbol.asyncDispose]: dispose };
};

test("Ctrl-C ends the demo as its time would: it compares everything, and leaves no file behind", async () => {
  await using demo = await startDemo();
  demo.child.kill("SIGINT");
  expect(await demo.child.exited).toBe(0);
  expect(await demo.ended()).toContain("the log and the store agree");
  expect(await readdir(demo.folder)).toEqual([]);
}, 60_000);

test("killed, the demo leaves nothing behind either", async () => {
  await using demo = await startDemo();
  expect(await readdir(demo.folder)).not.toEqual([]);
  demo.child.kill("SIGKILL");
  await waitFor(async () => (await readdir(demo.folder)).length === 0, {
    what: "everything to be removed",
    deadlineMs: 20_000,
  });
}, 60_000);
