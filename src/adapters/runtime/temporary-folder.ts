//! A folder for as long as it is needed.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { messageOf, PgstreamError } from "../../core/errors.ts";

export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
}

/** @throws PgstreamError `invalid_config` when there is no place for it */
export const makeTemporaryFolder = async (prefix: string): Promise<TemporaryFolder> => {
  const path = await mkdtemp(join(tmpdir(), prefix)).catch((cause: unknown) => {
    throw new PgstreamError(
      "invalid_config",
      `TMPDIR: no folder can be made in ${tmpdir()}: ${messageOf(cause)}`,
      { cause },
    );
  });
  return { path, [Symbol.asyncDispose]: async () => await rm(path, { recursive: true, force: true }) };
};
