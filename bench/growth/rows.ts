//! A row of the table from one figure, with nothing, or one other figure, beside it.

import type { Goal, Row, Summary, Usage } from "../context.ts";

const once = (value: number): Summary => ({ value, min: value, max: value });

export interface Figure {
  readonly measure: string;
  readonly unit: Row["unit"];
  readonly value: number;
  readonly beside?: { readonly value: number; readonly is: string };
  /** Judged by the figure and its ratio to what is beside it. */
  readonly must?: (value: number, ratio: number) => Goal;
  readonly usage?: Usage;
  readonly details?: Readonly<Record<string, unknown>>;
}

export const rowOfFigure = ({ measure, unit, value, beside, must, usage, details = {} }: Figure): Row => {
  const ratio = beside === undefined ? Number.NaN : value / beside.value;
  return {
    measure,
    unit,
    pgstream: once(value),
    limit: beside === undefined ? null : once(beside.value),
    limitIs: beside?.is ?? "–",
    ratio: beside === undefined ? null : once(ratio),
    must: must?.(value, ratio) ?? null,
    wanted: null,
    usage: usage ?? null,
    limitUsage: null,
    details,
  };
};

export const atMost =
  (most: number, unit: string) =>
  (value: number): Goal => ({ text: `≤ ${most} ${unit}`, isReached: value <= most });
