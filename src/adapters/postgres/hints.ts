//! Hints after the commit: implements Hints.

import type { Hints } from "../../core/announcer.ts";
import type { PostgresClient } from "./client.ts";

/** The channel of the whole log. What arrives on it, whatever it is, only means "look". */
export const channel = "events";

/** NOTIFY takes 8,000 bytes. */
const payloadBytesMax = 7_900;

const payloadOf = (topics: ReadonlySet<string>): string => {
  const names = [...topics].join(",");
  return names.length <= payloadBytesMax ? names : "*";
};

export const makeHints = (client: PostgresClient): Hints => ({
  notify: async (topics) => {
    await client.run((sql) => sql`select pg_notify(${channel}, ${payloadOf(topics)})`);
  },
  tick: async () => {
    await client.run((sql) => sql`select pgstream.tick()`);
  },
});
