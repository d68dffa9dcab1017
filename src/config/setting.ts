//! What a setting is. One name gives both spellings: POLL_INTERVAL in the environment is --poll-interval on the
//! command line.

import type { Parser } from "./parser.ts";

export interface Setting<T> {
  readonly env: string;
  /** Null for passwords: every user of the machine can read a command line. */
  readonly flag: string | null;
  readonly parser: Parser<T>;
  readonly default: { readonly value: T; readonly text: string };
  readonly about: string;
  /** Never shown, and also read from the file that `<env>_FILE` names. */
  readonly secret: boolean;
}

interface Description {
  readonly about: string;
  readonly flag?: string | null;
  readonly secret?: boolean;
}

const spellings = (env: string, { about, flag, secret }: Description) => ({
  env,
  about,
  flag: flag === undefined ? `--${env.toLowerCase().replaceAll("_", "-")}` : flag,
  secret: secret ?? false,
});

/** A setting that always has a value. The default is text and goes through the same parser as everybody's text. */
export const setting = <T>(
  env: string,
  parser: Parser<T>,
  description: Description & { readonly default: string },
): Setting<T> => {
  const parsed = parser.parse(description.default);
  if ("problem" in parsed) throw new TypeError(`the default of ${env} ${parsed.problem}`);
  return {
    ...spellings(env, description),
    parser,
    default: { value: parsed.value, text: description.default },
  };
};

/** A setting that may be absent; `unset` tells the reader of the help what happens then. */
export const optional = <T>(
  env: string,
  parser: Parser<T>,
  description: Description & { readonly unset: string },
): Setting<T | null> => ({
  ...spellings(env, description),
  parser,
  default: { value: null, text: description.unset },
});
