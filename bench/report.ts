//! A run in figures: as JSON for machines, and as a Markdown table for people.

import { type Goal, roundsLeast, type Row, type Summary, type Usage } from "./context.ts";
import type { Machine } from "./machine.ts";

export interface Report {
  /** The day it began, as in 2026-01-31. */
  readonly date: string;
  readonly command: string;
  readonly machine: Machine;
  readonly versions: {
    readonly pgstream: string;
    readonly commit: string | null;
    readonly bun: string;
    readonly postgres: string;
  };
  readonly settings: Readonly<Record<string, string>>;
  readonly scale: number;
  /** As was said; null: as each measure has it. */
  readonly rounds: number | null;
  readonly seconds: number;
  /** The most that other processes took in any row, 0 to 1; null where no row measured it. */
  readonly othersShareMax: number | null;
  readonly isDisturbed: boolean;
  readonly rows: readonly Row[];
}

/** Above this, others were at work and the figures are to be taken again. */
const disturbedShare = 0.1;

export const disturbanceOf = (rows: readonly Row[]): Pick<Report, "othersShareMax" | "isDisturbed"> => {
  const usages = rows.flatMap(({ usage, limitUsage }) => [usage, limitUsage].filter((it) => it !== null));
  if (usages.length === 0) return { othersShareMax: null, isDisturbed: false };
  const othersShareMax = Math.max(...usages.map(({ othersShare }) => othersShare));
  return { othersShareMax, isDisturbed: othersShareMax > disturbedShare };
};

const disturbanceText = ({ othersShareMax, isDisturbed }: Report): string => {
  if (othersShareMax === null) return "What other processes took of the machine was not measured.";
  const others = `${(othersShareMax * 100).toFixed(0)} %`;
  return isDisturbed
    ? `**Disturbed**: other processes took up to ${others} of the machine.`
    : `Undisturbed: other processes took at most ${others} of the machine.`;
};

const figure = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toFixed(value >= 10 ? 1 : 2);

/** Nothing of a single round. */
const spreadText = ({ min, max }: Summary, textOf: (value: number) => string): string =>
  min === max ? "" : ` (${textOf(min)} to ${textOf(max)})`;

const summaryText = (summary: Summary, unit: string): string =>
  `**${figure(summary.value)}** ${unit}${spreadText(summary, figure)}`;

const ratioText = (ratio: Summary | null): string => {
  const textOf = (value: number): string => value.toFixed(2);
  return ratio === null ? "–" : `${textOf(ratio.value)} ×${spreadText(ratio, textOf)}`;
};

/** The higher bound that was reached, else the lower one that was missed, and in how many rounds it was reached. */
const verdictOf = ({ must, wanted }: Row): string => {
  const textOf = (verdict: string, goal: Goal | null): string =>
    goal?.inRounds === undefined ? verdict : `${verdict} (${goal.inRounds.reached} of ${goal.inRounds.of})`;
  if (must === null && wanted === null) return "–";
  if (must?.isReached === false) return textOf("missed", must);
  return wanted?.isReached === true ? textOf("wanted", wanted) : textOf("reached", must);
};

const goalText = (goal: Goal | null): string => goal?.text ?? "–";

const microsText = (usage: Usage, amount: number): string => {
  const micros = (seconds: number): string => figure((seconds * 1e6) / amount);
  return `${micros(usage.serverCpuSeconds)} + ${micros(usage.clientCpuSeconds)}`;
};

/** In microseconds an event, and those of the limit. */
const cpuText = ({ usage, amount, limitUsage, limitAmount }: Row): string => {
  if (usage === null || amount === undefined) return "–";
  const limit =
    limitUsage === null || limitAmount === undefined ? "" : ` (limit ${microsText(limitUsage, limitAmount)})`;
  return `${microsText(usage, amount)} µs${limit}`;
};

const cells = (row: Row): readonly string[] => [
  row.measure,
  summaryText(row.pgstream, row.unit),
  row.limit === null ? row.limitIs : `${summaryText(row.limit, row.unit)}, ${row.limitIs}`,
  ratioText(row.ratio),
  goalText(row.must),
  goalText(row.wanted),
  verdictOf(row),
  cpuText(row),
];

const head = [
  "measure",
  "pgstream",
  "limit",
  "ratio",
  "must reach",
  "wanted",
  "verdict",
  "CPU per event, server + client",
];

export const tableOf = (rows: readonly Row[]): string => {
  const lines = [head, ...rows.map(cells)];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const text = (line: readonly string[]): string =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [text(head), rule, ...rows.map((row) => text(cells(row)))].join("\n");
};

const roundsText = ({ rounds }: Report): string => {
  if (rounds === null) return "Rounds in turns, as many as the verdict says";
  const few = rounds < roundsLeast ? ` (**fewer than ${roundsLeast}**: no figure to go by)` : "";
  return `${rounds} ${rounds === 1 ? "round" : "rounds in turns"}${few}`;
};

/** The table with all that is needed to believe it. */
export const markdownOf = (report: Report): string => {
  const { machine, versions, settings } = report;
  const shown = Object.entries(settings).map(([name, value]) => `\`${name}\` ${value}`);
  return [
    tableOf(report.rows),
    "",
    `\`${report.command}\` on ${report.date}: ${machine.cores} cores (${machine.cpu}), ${machine.memoryGiB} GiB, ${machine.os}.`,
    `pgstream ${versions.pgstream}${versions.commit === null ? "" : ` (${versions.commit})`}, Bun ${versions.bun}, PostgreSQL ${versions.postgres}: ${shown.join(", ")}.`,
    `${roundsText(report)}, median (least to most); scale ${report.scale}${report.scale < 1 ? " (a first impression: the goals are for scale 1)" : ""}; ${Math.round(report.seconds)} s in all.`,
    disturbanceText(report),
  ].join("\n");
};

const markers = { begin: "<!-- bench: begin -->", end: "<!-- bench: end -->" };

/** @throws Error when the text lacks the markers */
export const replaceBlock = (text: string, block: string): string => {
  const begin = text.indexOf(markers.begin);
  const end = text.indexOf(markers.end);
  if (begin < 0 || end < begin) {
    throw new Error(`the file has no place for the table: put ${markers.begin} and ${markers.end} into it`);
  }
  return `${text.slice(0, begin + markers.begin.length)}\n\n${block}\n\n${text.slice(end)}`;
};
