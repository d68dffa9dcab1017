//! publish() and publish_batch() as SQL callers call them, and what a call leaves behind.

import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import type { Session } from "./read-bench.ts";

export interface Draft {
  readonly topic?: string | null;
  readonly data?: string | null;
  readonly key?: string;
  readonly type?: string;
  readonly headers?: string;
  readonly idempotencyKey?: string;
}

export const publishDraft = async (session: Session, draft: Draft): Promise<bigint> => {
  const { topic = "t", data = "{}", key = null, type = null, headers = null, idempotencyKey = null } = draft;
  const [row] = await session<{ id: string }[]>`
    select pgstream.publish(${topic}, ${data}::text::json, ${key}, ${type}, ${headers}::text::json, ${idempotencyKey},
      notify => false) as id`;
  return BigInt(row?.id ?? 0);
};

export interface Columns {
  readonly topics?: readonly string[] | null;
  readonly data?: readonly string[] | null;
  readonly keys?: readonly string[];
  readonly types?: readonly string[];
  readonly headers?: readonly string[];
  readonly idempotencyKeys?: readonly string[];
  readonly publisher?: string;
  readonly batch?: number;
}

export const publishColumns = async (session: Session, columns: Columns): Promise<readonly bigint[]> => {
  const joined = (values: readonly string[] | null | undefined): string | null =>
    values?.join("\u001E") ?? null;
  const { topics = ["t"], data = topics?.map(() => "{}") } = columns;
  const [row] = await session<{ ids: string }[]>`
    select pgstream.publish_batch(${joined(topics)}, ${joined(data)}, ${joined(columns.keys)}, ${joined(columns.types)},
      ${joined(columns.headers)}, ${joined(columns.idempotencyKeys)}, ${columns.publisher ?? null}::uuid,
      ${columns.batch ?? null}::bigint, notify => false)::text as ids`;
  return row?.ids.slice(1, -1).split(",").map(BigInt) ?? [];
};

/** What every refusal must leave as it is. */
export const rowsOf = async (session: Session) => {
  const [row] = await session`
    select (select count(*) from pgstream.events) as events, (select count(*) from pgstream.topics) as topics,
      (select count(*) from pgstream.idempotency_keys) as keys, (select count(*) from pgstream.publishers) as publishers`;
  return { ...row };
};

/** The SQLSTATE that the call ends with, "" when it ends well. @throws Error when the message has more than one line */
export const stateOf = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call;
    return "";
  } catch (error) {
    if (String(error).includes("\n")) throw new Error("more than one line", { cause: error });
    return sqlstateOf(error) ?? String(error);
  }
};
