//! Where a setting's text comes from: the flag, else the environment, else the file that `<NAME>_FILE` names.

import { messageOf, PgstreamError } from "../core/errors.ts";
import type { Setting } from "./setting.ts";

/** What the outside says. */
export interface Sources {
  /** Text by flag, e.g. `--roles`. */
  readonly flags: ReadonlyMap<string, string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A whole text file. */
  readonly readFile: (path: string) => string;
}

/** A text, and the name under which its owner will look for it. */
export interface Given {
  readonly text: string;
  readonly origin: string;
}

export const invalidConfig = (message: string, cause?: unknown): PgstreamError =>
  new PgstreamError("invalid_config", message, { cause });

/** @throws PgstreamError `invalid_config` */
export const readSettingFile = (path: string, origin: string, { readFile }: Sources): string => {
  try {
    return readFile(path);
  } catch (cause) {
    throw invalidConfig(`${origin}: the file ${path} cannot be read: ${messageOf(cause)}`, cause);
  }
};

/** An empty variable counts as not set, because `NAME=` in a compose file is how people unset one. */
const inEnvironment = ({ env }: Sources, name: string): string | null => {
  const value = env[name];
  return value === undefined || value === "" ? null : value;
};

/**
 * The text given for a setting, or null.
 * @throws PgstreamError `invalid_config` when a secret is given twice or its file cannot be read
 */
export const givenFor = ({ env, flag, secret }: Setting<unknown>, sources: Sources): Given | null => {
  const byFlag = flag === null ? undefined : sources.flags.get(flag);
  if (flag !== null && byFlag !== undefined) return { text: byFlag, origin: flag };

  const byEnv = inEnvironment(sources, env);
  const fileEnv = `${env}_FILE`;
  const file = secret ? inEnvironment(sources, fileEnv) : null;
  if (byEnv !== null && file !== null) {
    throw invalidConfig(`${env}: ${fileEnv} is set too: unset one of the two`);
  }
  if (byEnv !== null) return { text: byEnv, origin: env };
  if (file === null) return null;
  // Editors and `echo` end a file with a line break that is not part of the secret.
  const text = readSettingFile(file, fileEnv, sources).replace(/\r?\n$/, "");
  if (text === "") throw invalidConfig(`${fileEnv}: the file ${file} is empty`);
  return { text, origin: fileEnv };
};
