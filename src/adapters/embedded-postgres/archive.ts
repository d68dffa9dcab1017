//! The PostgreSQL binaries as one compressed file: made when a binary is built, unpacked once where it runs.

import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";

import { cachedFolder } from "./cache-folder.ts";
import { mustRunCommand } from "./run-command.ts";

const tarDeadlineMs = 120_000;

// Headers, static libraries and pkg-config files are for compiling against PostgreSQL; a server needs none of them.
const unneeded = ["*.a", "*/pkgconfig", "*/pgxs", "*/include", "*/man", "*/doc"];

/** Of names and bytes, not of the archive: that one differs each time by the times in it. */
const contentHash = async (folder: string): Promise<string> => {
  const hasher = new Bun.CryptoHasher("sha256");
  const names = await Array.fromAsync(new Bun.Glob("**/*").scan({ cwd: folder }));
  for (const name of names.toSorted((a, b) => (a < b ? -1 : 1))) {
    hasher.update(`${name}\n`).update(await Bun.file(join(folder, name)).bytes());
  }
  return hasher.digest("hex").slice(0, 16);
};

/**
 * Packs `nativeDir` (with `bin`, `lib`, `share`) into `archiveFile`, a tar.gz. Needs the `tar` command.
 *
 * @returns a key that names exactly this content, for {@link extractArchive}
 */
export const makeArchive = async (
  nativeDir: string,
  archiveFile: string,
): Promise<{ readonly key: string }> => {
  await mkdir(dirname(archiveFile), { recursive: true });
  const excludes = unneeded.map((pattern) => `--exclude=${pattern}`);
  await mustRunCommand(["tar", "-czf", archiveFile, ...excludes, "-C", nativeDir, "."], {
    account: undefined,
    deadlineMs: tarDeadlineMs,
  });
  return { key: `postgres-${await contentHash(nativeDir)}` };
};

/** Unpacks once into `cacheDir/key` and returns that folder; later calls only look whether it is there. */
export const extractArchive = async (
  archiveFile: string,
  options: { readonly cacheDir: string; readonly key: string },
): Promise<string> =>
  await cachedFolder(options.cacheDir, options.key, async (folder) => {
    await new Bun.Archive(await Bun.file(archiveFile).bytes()).extract(folder);
  });
