//! A standby that lags behind: in recovery, open for reading, and as far as its primary was when it was copied. Nothing is replayed
//! there any more, so that there is nothing to wait for.

import { join } from "node:path";

import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { type PostgresVersion, startOwnServer } from "./postgres.ts";

/**
 * Restarts the primary. The standby lives in a folder beside the primary's, which goes with it: close the standby first.
 * @param version of the primary
 */
export const startLaggingStandby = async (
  primary: PostgresServer,
  version: PostgresVersion,
): Promise<PostgresServer> => {
  await primary.stop();
  const dataDir = `${primary.dataDir}-standby`;
  // The account that the servers run as keeps its files.
  const copying = Bun.spawn(["cp", "-a", primary.dataDir, dataDir], { stdin: "ignore", stderr: "pipe" });
  const complaints = await copying.stderr.text();
  if ((await copying.exited) !== 0) throw new Error(complaints);
  await Bun.write(join(dataDir, "standby.signal"), "");
  await primary.start();
  return await startOwnServer({ version, dataDir, settings: { autovacuum: "off" } });
};
