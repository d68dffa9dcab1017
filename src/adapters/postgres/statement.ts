//! Statements made of parts. A part that the driver makes needs a connection and is a query that is never sent, and some
//! statements have twenty of them. Here a part is text and values.

import type postgres from "postgres";
import type { Sql as Fragment } from "sql-template-tag";

import type { Sql } from "./client.ts";

export { empty, join, raw, default as sql } from "sql-template-tag";

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

const send =
  <Row>(text: string, values: readonly unknown[]) =>
  (connection: Sql) =>
    connection.unsafe<Row[]>(text, values as postgres.ParameterOrJSON<bigint>[], sendOptions);

/** For `run` of a client: sends it as the driver sends its own. */
export const prepared = <Row>({ text, values }: Statement<Row>) => send<Row>(text, values);

/** One to be sent many times: those of its values that are functions are got from what it is sent for. */
export interface Template<Input, Row> extends Statement<Row> {
  /** Never there: it carries the type. */
  readonly input?: (input: Input) => void;
}

/**
 * For `run` of a client. The text is made once: to make it of twenty parts takes a tenth of the time that its whole round trip
 * does.
 */
export const repeated =
  <Input, Row>({ text, values }: Template<Input, Row>) =>
  (input: Input) => {
    const valueOf = (value: unknown): unknown =>
      typeof value === "function" ? (value as (input: Input) => unknown)(input) : value;
    return send<Row>(text, values.map(valueOf));
  };
