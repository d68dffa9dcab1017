//! A database that is pgstream's alone: its tables are found without naming their schema, in every new session.

import type { Logger } from "../../../core/ports.ts";
import type { PostgresClient } from "../client.ts";
import { quoteName } from "../quote.ts";
import { orAskAdministrator, runAsOne } from "./migrator-message.ts";

const ddlTimeoutMs = 30_000;
const searchPath = `pgstream, "$user", public`;

/** @throws PgstreamError `permission_denied` when the user does not own the database */
export const dedicateDatabase = async (client: PostgresClient, logger: Logger): Promise<void> => {
  const [row] = await client.run(
    (sql) => sql<{ database: string; dedicated: boolean }[]>`
      select d.datname as database, exists (
        select from pg_db_role_setting s
        where s.setdatabase = d.oid and s.setrole = 0 and ${`search_path=${searchPath}`}::text = any(s.setconfig)
      ) as dedicated
      from pg_database d where d.datname = current_database()`,
  );
  if (row === undefined || row.dedicated) return;
  const ddl = `alter database ${quoteName(row.database)} set search_path = ${searchPath}`;
  await orAskAdministrator(async () => await runAsOne(client, [ddl], { deadlineMs: ddlTimeoutMs }), [ddl]);
  logger.info({ database: row.database, searchPath }, "schema pgstream put on the database's search path");
};
