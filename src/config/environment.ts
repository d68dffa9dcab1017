//! Variables that change the runtime below us. With one of them set the binary would trust anybody's certificate, or has run
//! somebody else's code by now (the runtime loads it before ours): so it refuses to work.

import { invalidConfig } from "./given.ts";

// BUN_BE_BUN is not here: with it the runtime never reaches our code.
const foreignCode = ["BUN_OPTIONS", "BUN_INSPECT", "BUN_INSPECT_PRELOAD", "NODE_OPTIONS"];

/**
 * @param compiled whether this is the single binary; a developer's own `bun` may be told anything
 * @throws PgstreamError `invalid_config`
 */
export const refuseHostileEnvironment = (
  env: Readonly<Record<string, string | undefined>>,
  { compiled }: { readonly compiled: boolean },
): void => {
  const isSet = (name: string): boolean => (env[name] ?? "") !== "";
  const found = compiled ? foreignCode.find((name) => isSet(name)) : undefined;
  if (found !== undefined)
    throw invalidConfig(`${found}: set, which lets others change this program: unset it`);
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    throw invalidConfig(
      "NODE_TLS_REJECT_UNAUTHORIZED: 0 would trust every certificate: unset it, and use DATABASE_TLS=no-verify if that is what you want",
    );
  }
};
