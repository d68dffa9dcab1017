//! Tells a binary which commit it was made of: `0.1.0+5ce329d87ff9`, with `-dirty` where the checkout differs from it. A
//! plugin for `Bun.build` that replaces package.json, of which the program reads nothing but the version. Without a commit
//! (a tarball, a container's build) the version stands alone.

import { existsSync } from "node:fs";
import { join } from "node:path";

import type { BunPlugin } from "bun";

/** Null where git cannot tell. */
const git = (root: string, ...args: readonly string[]): string | null => {
  if (Bun.which("git") === null) return null;
  // Whoever commits meanwhile needs the index more than we do.
  const { success, stdout } = Bun.spawnSync(["git", "--no-optional-locks", "-C", root, ...args], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  return success ? stdout.toString().trim() : null;
};

/** The checkout's commit, or null. */
export const commitOf = (root: string): string | null => {
  // Unpacked inside another checkout, git would tell the commit of that one.
  if (!existsSync(join(root, ".git"))) return null;
  const commit = git(root, "rev-parse", "--short=12", "HEAD");
  if (commit === null) return null;
  return git(root, "status", "--porcelain", "--untracked-files=no") === "" ? commit : `${commit}-dirty`;
};

export const stampedVersion = (version: string, commit: string | null): string =>
  commit === null ? version : `${version}+${commit}`;

/** @param packageFile the package.json to replace, as an absolute path */
export const stampVersion = (packageFile: string, version: string): BunPlugin => ({
  name: "stamp-version",
  setup: (build) => {
    build.onLoad({ filter: new RegExp(`^${RegExp.escape(packageFile)}$`) }, () => ({
      loader: "json",
      contents: JSON.stringify({ version }),
    }));
  },
});
