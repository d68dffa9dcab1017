//! What publish() obeys, and the segments it writes to, as far as the migrator sees to them.

import type { PostgresClient } from "../client.ts";

export interface LogSettings {
  readonly createTopics: boolean;
  readonly eventBytesMax: number;
  readonly idempotencyWindowMs: number;
}

/** Writes the row of pgstream.settings when it differs. */
export const writeLogSettings = async (
  client: PostgresClient,
  { createTopics, eventBytesMax, idempotencyWindowMs }: LogSettings,
): Promise<void> => {
  await client.run(
    (sql) => sql`
      update pgstream.settings s
      set create_topics = n.create_topics, event_bytes_max = n.event_bytes_max, idempotency_window = n.idempotency_window
      from (
        select ${createTopics}::boolean, ${eventBytesMax}::integer, ${idempotencyWindowMs}::float8 * interval '1 ms'
      ) n (create_topics, event_bytes_max, idempotency_window)
      where (s.create_topics, s.event_bytes_max, s.idempotency_window)
        is distinct from (n.create_topics, n.event_bytes_max, n.idempotency_window)`,
  );
};

/** Attaches the segments that must be there in advance, in case no purger has run for long. */
export const prepareSegments = async (client: PostgresClient): Promise<void> => {
  await client.run((sql) => sql`select pgstream.prepare_segments()`);
};
