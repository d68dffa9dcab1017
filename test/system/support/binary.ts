//! The compiled binary: the one in dist/ when it is newer than what it is made of, else built first.

import { stat } from "node:fs/promises";
import { join } from "node:path";

import { Glob } from "bun";

const root = join(import.meta.dir, "..", "..", "..");
const binary = join(root, "dist", "pgstream");

const changedAt = async (path: string): Promise<number> => {
  try {
    return (await stat(path)).mtimeMs;
  } catch {
    return -Infinity;
  }
};

const newestSource = async (): Promise<number> => {
  const times = [await changedAt(join(root, "package.json")), await changedAt(join(root, "bun.lock"))];
  for (const folder of ["src", "migrations"]) {
    for await (const file of new Glob("**/*").scan(join(root, folder)))
      times.push(await changedAt(join(root, folder, file)));
  }
  return Math.max(...times);
};

const build = async (): Promise<string> => {
  if ((await changedAt(binary)) < (await newestSource())) {
    const child = Bun.spawn([process.execPath, join(root, "scripts", "build.ts")], {
      stdout: "ignore",
      stderr: "inherit",
    });
    if ((await child.exited) !== 0) throw new Error("the binary could not be built");
  }
  return binary;
};

let built: Promise<string> | undefined;
export const pgstreamBinary = async (): Promise<string> => await (built ??= build());
