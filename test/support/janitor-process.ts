//! Starts the janitor: for a test file run alone against a server that goes on afterwards.

import { join } from "node:path";

/** @param urls the variables that janitor.ts reads */
export const startJanitor = (urls: Readonly<Record<string, string>>, runId: string): void => {
  Bun.spawn([process.execPath, join(import.meta.dir, "janitor.ts")], {
    detached: true,
    env: { ...process.env, ...urls, PGSTREAM_JANITOR_RUN: runId },
    stdin: "pipe",
    stdout: "ignore",
    stderr: "inherit",
  }).unref();
};
