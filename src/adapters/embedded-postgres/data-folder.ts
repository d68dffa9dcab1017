//! The data folder of a server: made by initdb aside and renamed into place, so a half-made one is never started.

import { randomBytes } from "node:crypto";
import { chmod, chown, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { PgstreamError } from "../../core/errors.ts";
import type { PostgresBinaries } from "./binaries.ts";
import { type Account, mustRunCommand } from "./run-command.ts";

const initDeadlineMs = 120_000;

export interface DataFolderOptions {
  readonly binaries: PostgresBinaries;
  readonly account: Account | undefined;
  readonly superuser: string;
  readonly password: string;
}

const give = async (path: string, account: Account | undefined): Promise<void> => {
  if (account !== undefined) await chown(path, account.uid, account.gid);
};

const initialise = async (folder: string, options: DataFolderOptions): Promise<void> => {
  const passwordFile = `${folder}.password`;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await give(folder, options.account);
  try {
    await writeFile(passwordFile, `${options.password}\n`, { mode: 0o600 });
    await give(passwordFile, options.account);
    await mustRunCommand(
      [
        join(options.binaries.binDir, "initdb"),
        `--pgdata=${folder}`,
        `--username=${options.superuser}`,
        `--pwfile=${passwordFile}`,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
      ],
      { account: options.account, deadlineMs: initDeadlineMs },
    );
  } finally {
    await rm(passwordFile, { force: true });
  }
};

/** "18" for a folder made by PostgreSQL 18, null for one that initdb has yet to fill. */
const madeBy = async (dataDir: string): Promise<string | null> => {
  const file = Bun.file(join(dataDir, "PG_VERSION"));
  return (await file.exists()) ? (await readFile(join(dataDir, "PG_VERSION"), "utf8")).trim() : null;
};

/**
 * Makes `dataDir` ready to be started: UTF-8, locale C, passwords by scram. An existing one is left as it is.
 *
 * @throws PgstreamError invalid_config when another major version made it, database_unavailable when initdb fails
 */
export const prepareDataFolder = async (dataDir: string, options: DataFolderOptions): Promise<void> => {
  const found = await madeBy(dataDir);
  const wanted = options.binaries.version.split(".")[0];
  if (found === wanted) return;
  if (found !== null) {
    const message = `${dataDir} belongs to PostgreSQL ${found} and this is ${options.binaries.version}: name another folder`;
    throw new PgstreamError("invalid_config", message);
  }
  await mkdir(dirname(dataDir), { recursive: true });
  const draft = `${dataDir}.draft-${randomBytes(6).toString("hex")}`;
  try {
    await initialise(draft, options);
    await rename(draft, dataDir);
    await chmod(dataDir, 0o700);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
};
