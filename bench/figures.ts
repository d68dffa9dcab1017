//! From rounds to figures. Measured thing and limit take turns, and who goes first alternates: a machine that warms up or
//! slows down does it to both.

import { max, median, min, quantileSorted } from "simple-statistics";

import type { BenchContext, Goal, Row, Summary, Usage } from "./context.ts";

/** What one turn answers; the usage is of what the clock covered. */
export interface Turn {
  readonly value: number;
  readonly usage: Usage;
  /** Of events that the usage is of. */
  readonly amount: number;
  /** What the value is a quantile of, in turns that have one: milliseconds of each event. */
  readonly samples?: readonly number[];
}

export interface Contender {
  readonly name: string;
  readonly run: (round: number) => Promise<Turn>;
}

export const summaryOf = (values: readonly number[]): Summary => ({
  value: median([...values]),
  min: min([...values]),
  max: max([...values]),
});

/** @param share 0.99 for p99 */
export const quantileOf = (values: readonly number[], share: number): number =>
  quantileSorted(
    values.toSorted((a, b) => a - b),
    share,
  );

const addUsage = (usages: readonly Usage[]): Usage => ({
  wallSeconds: usages.reduce((sum, it) => sum + it.wallSeconds, 0),
  serverCpuSeconds: usages.reduce((sum, it) => sum + it.serverCpuSeconds, 0),
  clientCpuSeconds: usages.reduce((sum, it) => sum + it.clientCpuSeconds, 0),
  othersShare: Math.max(...usages.map((it) => it.othersShare)),
});

export interface Turns {
  readonly values: readonly number[];
  readonly usage: Usage;
  readonly amount: number;
  /** Of each round. */
  readonly samples: readonly (readonly number[])[];
  /** The figure of all rounds together, where there is one: it takes the place of the median of the rounds. */
  readonly pooled?: number;
}

/**
 * A quantile of all rounds' samples. The p99 of a single round hangs by its twenty slowest events: the median of such
 * figures moves more from run to run than the one of them all.
 */
export const quantileOfTurns = (turns: Turns, share: number): Turns => ({
  ...turns,
  values: turns.samples.map((samples) => quantileOf(samples, share)),
  pooled: quantileOf(turns.samples.flat(), share),
});

/** One per contender, in their order. */
type TurnsOf<T extends readonly Contender[]> = { readonly [Index in keyof T]: Turns };

/**
 * Runs the contenders in turns.
 * @param prepare what they find in each round, whoever of them goes first
 */
export const takeTurns = async <const T extends readonly Contender[]>(
  { rounds, say, signal, checkpoint }: BenchContext,
  contenders: T,
  prepare?: () => Promise<void>,
): Promise<TurnsOf<T>> => {
  const turns = contenders.map((): Turn[] => []);
  for (let round = 0; round < rounds; round += 1) {
    const order = [...contenders.keys()];
    signal.throwIfAborted();
    await prepare?.();
    for (const index of round % 2 === 0 ? order : order.reverse()) {
      const contender = contenders[index];
      if (contender === undefined) continue;
      signal.throwIfAborted();
      await checkpoint();
      Bun.gc(true);
      const turn = await contender.run(round);
      turns[index]?.push(turn);
      say(`  round ${round + 1} of ${rounds}, ${contender.name}: ${figureText(turn.value)}`);
    }
  }
  return turns.map((own) => ({
    values: own.map(({ value }) => value),
    usage: addUsage(own.map(({ usage }) => usage)),
    amount: own.reduce((sum, { amount }) => sum + amount, 0),
    samples: own.map(({ samples = [] }) => samples),
  })) as TurnsOf<T>;
};

const figureText = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toFixed(2);

export interface Question {
  readonly measure: string;
  readonly unit: Row["unit"];
  readonly limitIs: string;
  readonly must: ((ratio: number, figure: number) => Goal) | null;
  readonly wanted: ((ratio: number, figure: number) => Goal) | null;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** At least so many times the limit. */
export const ratioAtLeast =
  (least: number) =>
  (ratio: number): Goal => ({ text: `${least} ×`, isReached: ratio >= least });

export const ratioAtMost =
  (most: number) =>
  (ratio: number): Goal => ({ text: `≤ ${most} ×`, isReached: ratio <= most });

const overRounds = ({ values, pooled }: Pick<Turns, "values" | "pooled">): Summary => {
  const summary = summaryOf(values);
  return pooled === undefined ? summary : { ...summary, value: pooled };
};

const ratioOf = (measured: Turns, limited: Turns): Summary => {
  const values = measured.values.map((value, round) => value / (limited.values[round] ?? Number.NaN));
  const isPooled = measured.pooled !== undefined && limited.pooled !== undefined;
  return overRounds({ values, ...(isPooled && { pooled: measured.pooled / limited.pooled }) });
};

/** A row of the figures and of those of the limit, in the same rounds. */
export const rowOf = (question: Question, measured: Turns, limited: Turns | null): Row => {
  const { measure, unit, limitIs, details = {} } = question;
  const ratio = limited === null ? null : ratioOf(measured, limited);
  const pgstream = overRounds(measured);
  const judge = (goal: Question["must"]): Goal | null => {
    if (goal === null) return null;
    const reached = measured.values.filter(
      (value, round) => goal(value / (limited?.values[round] ?? Number.NaN), value).isReached,
    );
    return {
      ...goal(ratio?.value ?? Number.NaN, pgstream.value),
      inRounds: { reached: reached.length, of: measured.values.length },
    };
  };
  return {
    measure,
    unit,
    pgstream,
    limit: limited === null ? null : overRounds(limited),
    limitIs,
    ratio,
    must: judge(question.must),
    wanted: judge(question.wanted),
    usage: measured.usage,
    limitUsage: limited?.usage ?? null,
    amount: measured.amount,
    ...(limited !== null && { limitAmount: limited.amount }),
    details: { ...details, rounds: measured.values, limitRounds: limited?.values ?? null },
  };
};

/** Times the work; its figure is how much of `amount` was done a second. */
export const timed = async (
  { startMeter }: Pick<BenchContext, "startMeter">,
  amount: number,
  work: () => Promise<void>,
): Promise<Turn> => {
  const meter = await startMeter();
  const startedAtMs = performance.now();
  await work();
  const seconds = (performance.now() - startedAtMs) / 1_000;
  return { value: amount / seconds, usage: await meter.read(), amount };
};
