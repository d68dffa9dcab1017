//! Which account the server runs as. PostgreSQL refuses root, so root lends it an unprivileged account that exists already.

import { readFile, stat } from "node:fs/promises";
import { userInfo } from "node:os";

import { PgstreamError } from "../../core/errors.ts";
import type { Account } from "./run-command.ts";

// initdb looks its user up by number, so the account must stand in the password file: a bare 65534 will not do.
const accountNames = ["postgres", "nobody", "daemon"];

/** Also where the password file does not know it. */
export const ownUid = (): number => process.geteuid?.() ?? userInfo().uid;

export const isRoot = (): boolean => ownUid() === 0;

/** The first of our candidates in the text of a password file. */
export const pickAccount = (passwd: string): Account | undefined => {
  const byName = new Map(passwd.split("\n").map((line) => [line.split(":")[0], line.split(":")]));
  for (const name of accountNames) {
    const [, , uid, gid] = byName.get(name) ?? [];
    if (Number(uid) > 0 && Number(gid) > 0) return { uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
};

const ownerOf = async (folder: string): Promise<Account | undefined> => {
  try {
    const { uid, gid } = await stat(folder);
    return uid === 0 ? undefined : { uid, gid };
  } catch {
    return undefined; // not there yet
  }
};

/**
 * Undefined when we are an ordinary user already. For root: the owner of an existing data folder, so that a server
 * made before `postgres` became an account here can still open its files; else the first candidate.
 *
 * @throws PgstreamError database_unavailable when root finds no account to lend
 */
export const serverAccount = async (dataDir: string): Promise<Account | undefined> => {
  if (!isRoot()) return undefined;
  const account = (await ownerOf(dataDir)) ?? pickAccount(await readFile("/etc/passwd", "utf8"));
  if (account !== undefined) return account;
  throw new PgstreamError(
    "database_unavailable",
    `PostgreSQL will not run as root and none of the accounts ${accountNames.join(", ")} exists: run as an ordinary user`,
  );
};
