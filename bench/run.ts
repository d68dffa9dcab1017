//! One run: every measure in turn, then the report; or, when anything went wrong, no report at all.

import { PgstreamError } from "../src/core/errors.ts";
import {
  type BenchContext,
  DeliveryError,
  type Measure,
  type Picture,
  roundsLeast,
  type Row,
  RunError,
} from "./context.ts";

export interface Measured {
  readonly rows: readonly Row[];
  readonly pictures: readonly Picture[];
}

/** What all measures of a run share. */
export type RunContext = Omit<BenchContext, "rounds" | "rowsSoFar"> & {
  /** Null: as each measure has it. */
  readonly rounds: number | null;
};

/** A first impression is to be quick: below full scale every measure takes as few rounds as make a figure. */
const roundsOf = ({ rounds, scale }: RunContext, measure: Measure): number =>
  rounds ?? (scale < 1 ? roundsLeast : (measure.rounds ?? roundsLeast));

/** @throws DeliveryError, or whatever else a measure threw; what earlier ones found is then forgotten */
export const measureAll = async (measures: readonly Measure[], context: RunContext): Promise<Measured> => {
  const rows: Row[] = [];
  const pictures: Picture[] = [];
  for (const measure of measures) {
    context.signal.throwIfAborted();
    context.say(`${measure.name}: ${measure.about}`);
    const result = await measure.run({
      ...context,
      rounds: roundsOf(context, measure),
      rowsSoFar: () => [...rows],
    });
    rows.push(...result.rows);
    pictures.push(...(result.pictures ?? []));
  }
  return { rows, pictures };
};

/** Runs it and answers the exit code; `explain` is told why it is not 0. */
export const exitCodeOf = async (
  run: () => Promise<void>,
  signal: AbortSignal,
  explain: (line: string) => void,
): Promise<0 | 1 | 130> => {
  try {
    await run();
    return 0;
  } catch (error) {
    if (signal.aborted) return 130;
    const isTold =
      [DeliveryError, RunError, PgstreamError].some((kind) => error instanceof kind) ||
      !(error instanceof Error);
    explain(isTold ? String(error).replace(/^\w*Error: /, "") : (error.stack ?? error.message));
    return 1;
  }
};
