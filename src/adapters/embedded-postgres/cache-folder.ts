//! Folders that are made once and then only read: an unpacked archive, a copy of the binaries that another account can reach.
//! Made aside and renamed into place, so a half-made one is never seen and two makers at once do no harm.

import { randomBytes } from "node:crypto";
import { chmod, mkdir, rename, rm, stat } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

import { PgstreamError } from "../../core/errors.ts";
import { isRoot, ownUid } from "./account.ts";
import { mustRunCommand } from "./run-command.ts";

const chmodDeadlineMs = 30_000;

const exists = async (path: string): Promise<boolean> =>
  await stat(path).then(
    () => true,
    () => false,
  );

// A strict umask of root would shut the server's account out.
const makeOpenFolder = async (path: string): Promise<void> => {
  const isNew = (await mkdir(path, { recursive: true })) !== undefined;
  if (isNew && isRoot()) await chmod(path, 0o755);
};

/** Made if need be; only a folder of our own will do, since programs are run out of it. */
const ownFolder = async (path: string): Promise<boolean> => {
  try {
    await makeOpenFolder(path);
    return (await stat(path)).uid === ownUid();
  } catch {
    return false; // a read-only or missing home: the next candidate may do
  }
};

/** None for an account that the password file does not know, as containers have them. */
const cacheOfHome = (): readonly string[] => {
  try {
    return [join(homedir(), ".cache", "pgstream")];
  } catch {
    return [];
  }
};

/**
 * Where pgstream keeps what it can make again. Root's must be open to the account the server runs as.
 *
 * @throws PgstreamError database_unavailable when no folder can be written
 */
export const defaultCacheDir = async (): Promise<string> => {
  const temporary = join(tmpdir(), `pgstream-cache-${ownUid()}`);
  const candidates = [...(isRoot() ? ["/var/cache/pgstream"] : cacheOfHome()), temporary];
  for (const candidate of candidates) if (await ownFolder(candidate)) return candidate;
  throw new PgstreamError(
    "database_unavailable",
    `no folder to unpack PostgreSQL into: tried ${candidates.join(", ")}`,
  );
};

/**
 * The folder `cacheDir/key`, filled by `fill` if it is not there yet. The key must change with the content.
 */
export const cachedFolder = async (
  cacheDir: string,
  key: string,
  fill: (folder: string) => Promise<void>,
): Promise<string> => {
  const target = join(cacheDir, key);
  if (await exists(target)) return target;
  const draft = join(cacheDir, `.${key}-${randomBytes(6).toString("hex")}`);
  try {
    await makeOpenFolder(cacheDir);
    await mkdir(draft);
    await fill(draft);
    if (isRoot())
      await mustRunCommand(["chmod", "-R", "a+rX", draft], {
        account: undefined,
        deadlineMs: chmodDeadlineMs,
      });
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Somebody else was quicker: theirs is as good.
    if (!(await exists(target))) throw error;
  }
  return target;
};
