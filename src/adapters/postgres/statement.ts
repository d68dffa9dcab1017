//! Statements made of parts. A part that the driver makes needs a connection and is a query that is never sent, and some
//! statements have twenty of them. Here a part is text and values.

import type postgres from "postgres";
import type { Sql as Fragment } from "sql-template-tag";

import type { Sql } from "./client.ts";

export { empty, raw, default as sql } from "sql-template-tag";

/** A piece of a statement. */
export type { Fragment };

/** A whole one, whose answer has rows of this shape. */
export interface Statement<Row> extends Fragment {
  /** Never there: it carries the type. */
  readonly row?: Row;
}

// `simple` is an option that the driver's types leave out. True, as it is for a statement without values, means that there might be
// several in the text, and none of them is prepared.
const sendOptions = { prepare: true, simple: false };

/** For `run` of a client: sends it as the driver sends its own. */
export const prepared =
  <Row>({ text, values }: Statement<Row>) =>
  (connection: Sql) =>
    connection.unsafe<Row[]>(text, values as postgres.ParameterOrJSON<bigint>[], sendOptions);
