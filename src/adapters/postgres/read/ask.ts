//! Asks the log, and takes no answer from a standby: its snapshots lack the running transactions, and what it has not replayed
//! yet looks as if it had never been.
//!
//! On a connection of our own all answers are one server's, and a look tells whose. A pooler may take each statement to
//! another server, so there each tells for itself, also when it finds nothing. That makes a page dearer by a tenth.

import { PgstreamError } from "../../../core/errors.ts";
import type { PostgresClient } from "../client.ts";
import { prepared, sql, type Statement } from "../statement.ts";

/**
 * Sends the statement at once: what is asked first is answered first.
 * @throws PgstreamError `standby` (retryable)
 */
export type Ask = <Row>(statement: Statement<Row>) => Promise<readonly Row[]>;

/** The connection is given up, too: it may lead to the primary of yesterday, and the next one to that of today. */
export const refuseStandby = (client: Pick<PostgresClient, "renew">, isStandby: boolean): void => {
  if (!isStandby) return;
  client.renew();
  throw new PgstreamError(
    "standby",
    "this server is a standby: its snapshots lack the running transactions; connect to the primary",
    { retryable: true },
  );
};

interface AnswerColumns {
  readonly on_standby: boolean;
  /** Null: the statement itself has no rows. */
  readonly is_row: boolean | null;
}

/**
 * Rows, their order and the plan are those of the statement: where one row is joined to all of another side, whatever they are,
 * the planner can only go through them once, as they come.
 */
const sayingWhere = <Row>(statement: Statement<Row>): Statement<Row & AnswerColumns> => sql`
  select pg_catalog.pg_is_in_recovery() as on_standby, answer.*
  from (select) one left join (select true as is_row, it.* from (${statement}) it) answer on true`;

/** @param pooled whether another server may answer each time, unnoticed */
export const makeAsk = (client: PostgresClient, pooled: boolean): Ask => {
  if (!pooled) return async (statement) => await client.run(prepared(statement));
  return async (statement) => {
    const rows = await client.run(prepared(sayingWhere(statement)));
    const [first] = rows;
    if (first === undefined) throw new PgstreamError("internal", "an answer does not say where it is from");
    refuseStandby(client, first.on_standby);
    return first.is_row === null ? [] : rows;
  };
};
