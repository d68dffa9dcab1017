//! The table as a picture: pgstream beside its limit, one drawing for light pages and one for dark ones.

import { BarChart } from "echarts/charts";
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

import type { Picture, Row } from "./context.ts";

use([BarChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

interface Theme {
  readonly name: string;
  readonly text: string;
  readonly line: string;
  readonly pgstream: string;
  readonly limit: string;
}

const themes: readonly Theme[] = [
  { name: "light", text: "#1f2328", line: "#d1d9e0", pgstream: "#0969da", limit: "#8c959f" },
  { name: "dark", text: "#e6edf3", line: "#3d444d", pgstream: "#58a6ff", limit: "#6e7681" },
];

const width = 860;
const barsHeight = 46;
const left = 290;
const right = 90;

const label = (value: number): string =>
  value >= 1_000
    ? `${Math.round(value / 1_000).toLocaleString("en-US")} k`
    : value.toFixed(value >= 100 ? 0 : 2);

/** One block of bars under a heading. */
interface Block {
  readonly title: string;
  readonly rows: readonly Row[];
}

const blocksOf = (rows: readonly Row[]): readonly Block[] =>
  [
    {
      title: "events or deliveries per second (more is better)",
      rows: rows.filter(({ unit }) => unit === "events/s" || unit === "deliveries/s"),
    },
    {
      title: "latency in ms (less is better)",
      rows: rows.filter(({ unit, measure }) => unit === "ms" && measure.startsWith("latency")),
    },
  ].filter((block) => block.rows.length > 0);

const series = (block: Block, index: number, theme: Theme) =>
  (["pgstream", "limit"] as const).map((name) => ({
    type: "bar" as const,
    name,
    xAxisIndex: index,
    yAxisIndex: index,
    itemStyle: { color: theme[name] },
    barMaxWidth: 15,
    label: { show: true, position: "right" as const, color: theme.text, formatter: labelOf },
    data: block.rows.map((row) => row[name]?.value ?? null),
  }));

const labelOf = ({ value }: { readonly value?: unknown }): string =>
  typeof value === "number" ? label(value) : "";

const draw = (blocks: readonly Block[], theme: Theme): string => {
  const heights = blocks.map(({ rows }) => rows.length * barsHeight);
  const tops = heights.map((_, index) => 76 + heights.slice(0, index).reduce((sum, it) => sum + it + 52, 0));
  const height = (tops.at(-1) ?? 0) + (heights.at(-1) ?? 0) + 16;
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  chart.setOption({
    animation: false,
    backgroundColor: "transparent",
    textStyle: { fontFamily: "system-ui, sans-serif" },
    legend: { top: 6, data: ["pgstream", "limit"], textStyle: { color: theme.text } },
    title: blocks.map(({ title }, index) => ({
      text: title,
      left: 8,
      top: (tops[index] ?? 0) - 28,
      textStyle: { color: theme.text, fontSize: 13, fontWeight: "normal" },
    })),
    grid: tops.map((top, index) => ({ left, right, top, height: heights[index] ?? 0 })),
    xAxis: blocks.map((_, gridIndex) => ({
      type: "value",
      gridIndex,
      axisLabel: { show: false },
      splitLine: { show: false },
    })),
    yAxis: blocks.map(({ rows }, gridIndex) => ({
      type: "category",
      gridIndex,
      inverse: true,
      data: rows.map(({ measure }) => measure),
      axisLine: { lineStyle: { color: theme.line } },
      axisTick: { show: false },
      axisLabel: { color: theme.text, width: left - 20, overflow: "break" },
    })),
    series: blocks.flatMap((block, index) => series(block, index, theme)),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
};

/** `performance-light.svg` and `performance-dark.svg`; none when there is nothing to draw. */
export const drawCharts = (rows: readonly Row[]): readonly Picture[] => {
  const blocks = blocksOf(rows);
  if (blocks.length === 0) return [];
  return themes.map((theme) => ({ name: `performance-${theme.name}.svg`, svg: `${draw(blocks, theme)}\n` }));
};
