//! What a statement costs the server: not in time, which is the machine's, but in buffers, rows and locks.

import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import { type Fragment, prepared, sql, type Statement } from "../../src/adapters/postgres/statement.ts";

interface PlanNode {
  readonly "Node Type": string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Shared Hit Blocks"?: number;
  readonly "Shared Read Blocks"?: number;
  readonly "Index Name"?: string;
  readonly Plans?: readonly PlanNode[];
}

export interface Cost {
  /** Pages touched by the execution. */
  readonly buffers: number;
  /** Rows that scans looked at, whether they were of use or not. */
  readonly rows: number;
  /** Indexes that were read. */
  readonly indexes: readonly string[];
}

const nodesOf = (node: PlanNode): readonly PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];

/** Runs the statement, parameters and all, under EXPLAIN. */
export const costOf = async (client: PostgresClient, statement: Fragment): Promise<Cost> => {
  const explained: Statement<{ "QUERY PLAN": string }> = sql`
    explain (analyze, buffers, format json) ${statement}`;
  const [row] = await client.run(prepared(explained));
  const plan = (JSON.parse(row?.["QUERY PLAN"] ?? "[]") as readonly { readonly Plan: PlanNode }[])[0]?.Plan;
  if (plan === undefined) throw new Error("no plan");
  const scans = nodesOf(plan).filter(
    // A subquery's rows have been looked at below it.
    (node) => /(?<!Subquery )Scan$/.test(node["Node Type"]) && node["Actual Loops"] > 0,
  );
  return {
    buffers: (plan["Shared Hit Blocks"] ?? 0) + (plan["Shared Read Blocks"] ?? 0),
    rows: scans.reduce(
      (sum, node) =>
        sum + (node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0)) * node["Actual Loops"],
      0,
    ),
    indexes: [...new Set(scans.flatMap((node) => node["Index Name"] ?? []))].toSorted(),
  };
};
