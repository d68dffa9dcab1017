//! Finds the PostgreSQL programs to run: a folder that was named, else the archive inside this binary, else the npm package.

import { cp } from "node:fs/promises";
import { dirname, join } from "node:path";

import { PgstreamError } from "../../core/errors.ts";
import { extractArchive } from "./archive.ts";
import { cachedFolder, defaultCacheDir } from "./cache-folder.ts";
import { embeddedArchive } from "./embedded-archive.ts";
import { packageNativeDir, platformName } from "./package-folder.ts";
import { type Account, mustRunCommand, runCommand } from "./run-command.ts";

export interface PostgresBinaries {
  /** Holds `initdb` and `postgres`. */
  readonly binDir: string;
  /** For example "18.4". */
  readonly version: string;
}

const versionDeadlineMs = 10_000;

/** "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)" → "15.14" */
const parseVersion = (output: string): string =>
  /\(PostgreSQL\) (\d+(?:\.\d+|\w+)?)/.exec(output)?.[1] ?? "unknown";

const describeBinaries = async (binDir: string): Promise<PostgresBinaries> => {
  const output = await mustRunCommand([join(binDir, "postgres"), "--version"], {
    account: undefined,
    deadlineMs: versionDeadlineMs,
  });
  return { binDir, version: parseVersion(output) };
};

/**
 * @param options.binDir use exactly this folder, e.g. `/usr/lib/postgresql/15/bin`
 * @param options.cacheDir where to unpack the archive of a compiled binary
 * @throws PgstreamError database_unavailable when there is nothing for this platform
 */
export const findBinaries = async (
  options: { readonly binDir?: string; readonly cacheDir?: string } = {},
): Promise<PostgresBinaries> => {
  if (options.binDir !== undefined) return await describeBinaries(options.binDir);
  if (embeddedArchive !== null) {
    const cacheDir = options.cacheDir ?? (await defaultCacheDir());
    const folder = await extractArchive(embeddedArchive.file, { cacheDir, key: embeddedArchive.key });
    return await describeBinaries(join(folder, "bin"));
  }
  const nativeDir = await packageNativeDir();
  if (nativeDir !== null) return await describeBinaries(join(nativeDir, "bin"));
  throw new PgstreamError(
    "database_unavailable",
    `no PostgreSQL for ${platformName()} came with this program: install it with its packages, or give the URL of a server`,
  );
};

/** The same binaries where `account` can run them: its own copy when they lie under a folder closed to it, such as /root. */
export const reachableBinaries = async (
  binaries: PostgresBinaries,
  account: Account | undefined,
  cacheDir?: string,
): Promise<PostgresBinaries> => {
  if (account === undefined) return binaries;
  // Asked of the system rather than worked out from modes: those miss ACLs, mounts and security modules.
  const probe = [join(binaries.binDir, "postgres"), "--version"];
  if ((await runCommand(probe, { account, deadlineMs: versionDeadlineMs })).exitCode === 0) return binaries;
  const key = `postgres-${binaries.version}-${platformName()}-${Bun.hash(binaries.binDir).toString(36)}`;
  const copy = await cachedFolder(cacheDir ?? (await defaultCacheDir()), key, async (folder) => {
    await cp(dirname(binaries.binDir), folder, { recursive: true, verbatimSymlinks: true });
  });
  return { ...binaries, binDir: join(copy, "bin") };
};
