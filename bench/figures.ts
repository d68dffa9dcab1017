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
  /** More figures of the same turn, by name. */
  readonly more?: Readonly<Record<string, number>>;
}

export interface Contender {
  readonly name: string;
  readonly run: (round: number) => Promise<Turn>;
}

export const summaryOf = (values: readonly number[]): Summary => ({
  median: median([...values]),
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
  /** The figures called so, round by round. */
  readonly more: (name: string) => readonly number[];
}

/** One per contender, in their order. */
type TurnsOf<T extends readonly Contender[]> = { readonly [Index in keyof T]: Turns };

/** Runs the contenders in turns. */
export const takeTurns = async <const T extends readonly Contender[]>(
  { rounds, say, signal, checkpoint }: BenchContext,
  contenders: T,
): Promise<TurnsOf<T>> => {
  const turns = contenders.map((): Turn[] => []);
  for (let round = 0; round < rounds; round += 1) {
    const order = [...contenders.keys()];
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
    more: (name: string) => own.map(({ more }) => more?.[name] ?? Number.NaN),
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

/** A row of the figures and of those of the limit, in the same rounds. */
export const rowOf = (question: Question, measured: Turns, limited: Turns | null): Row => {
  const { measure, unit, limitIs, details = {} } = question;
  const figures = measured.values;
  const limit = limited === null ? null : limited.values;
  const ratio =
    limit === null ? null : summaryOf(figures.map((value, round) => value / (limit[round] ?? Number.NaN)));
  const pgstream = summaryOf(figures);
  const judge = (goal: Question["must"]): Goal | null =>
    goal === null ? null : goal(ratio?.median ?? Number.NaN, pgstream.median);
  return {
    measure,
    unit,
    pgstream,
    limit: limit === null ? null : summaryOf(limit),
    limitIs,
    ratio,
    must: judge(question.must),
    wanted: judge(question.wanted),
    usage: measured.usage,
    limitUsage: limited?.usage ?? null,
    amount: measured.amount,
    ...(limited !== null && { limitAmount: limited.amount }),
    details: { ...details, rounds: figures, limitRounds: limit },
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
