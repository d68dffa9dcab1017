//! Hints to whoever listens, and to the log that it may take a tick. Never inside the publishing transaction: a NOTIFY
//! holds a cluster-wide lock through the fsync of its commit.

import type { Ticker } from "../../../core/publish/announcer.ts";
import type { PostgresClient, Sql } from "../client.ts";

/** The channel of the whole log. What arrives on it, whatever it is, only means "look". */
export const channel = "events";

/** NOTIFY takes 8,000 bytes. */
const payloadBytesMax = 7_900;

const payloadOf = (topics: ReadonlySet<string>): string => {
  const names = [...topics].join(",");
  return names.length <= payloadBytesMax ? names : "*";
};

/** Wakes whoever listens, by a statement of its own. */
export const notify = async (sql: Sql, topics: ReadonlySet<string>): Promise<void> => {
  await sql`select pg_catalog.pg_notify(${channel}, ${payloadOf(topics)})`;
};

export const makeTicker = (client: PostgresClient): Ticker => ({
  tick: async () => {
    await client.run((sql) => sql`select pgstream.tick()`);
  },
});
