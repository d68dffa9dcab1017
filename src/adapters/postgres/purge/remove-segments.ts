//! Removes segments that retention emptied. Only the owner can, and not inside a function: DETACH … CONCURRENTLY, which
//! stops neither publishers nor readers, needs a statement of its own. A DROP alone would take the parent and stop
//! everybody behind the first open publisher.

import { hasCode, messageOf } from "../../../core/errors.ts";
import type { Logger } from "../../../core/ports.ts";
import type { PostgresClient } from "../client.ts";
import { quoteName } from "../quote.ts";

interface EmptySegment {
  readonly segment: number;
  readonly attached: boolean;
  /** An earlier removal was interrupted half-way. */
  readonly pending: boolean;
}

const emptySegments = async (client: PostgresClient): Promise<readonly EmptySegment[]> =>
  await client.run(
    (sql) => sql<EmptySegment[]>`
      select s.segment, i.inhrelid is not null as attached, coalesce(i.inhdetachpending, false) as pending
      from pgstream.segments s
      join pg_class c on c.relname = 'events_' || s.segment and c.relnamespace = 'pgstream'::regnamespace
      left join pg_inherits i on i.inhrelid = c.oid
      where s.emptied_at < now() - interval '1 hour'
      order by s.segment`,
  );

/**
 * Removes what was emptied more than an hour ago; answers how many. One that somebody holds is left to the next time.
 * @param client with a `lock_timeout`: DETACH waits for every transaction that has the log open
 */
export const removeEmptySegments = async (client: PostgresClient, logger: Logger): Promise<number> => {
  let removed = 0;
  for (const { segment, attached, pending } of await emptySegments(client)) {
    const name = `pgstream.${quoteName(`events_${segment}`)}`;
    try {
      if (attached) {
        const how = pending ? "finalize" : "concurrently";
        await client.run((sql) =>
          sql.unsafe(`alter table pgstream.events detach partition ${name} ${how}`).simple(),
        );
      }
      await client.run((sql) => sql.unsafe(`drop table ${name}`).simple());
      removed += 1;
      logger.info({ segment }, "an empty segment was removed");
    } catch (error) {
      if (!hasCode(error, "database_error")) throw error;
      logger.warn(
        { segment, error: messageOf(error) },
        "an empty segment could not be removed now; the next migrator tries again",
      );
    }
  }
  return removed;
};
