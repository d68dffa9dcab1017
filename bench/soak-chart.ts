//! The curves of a soak: one panel for each kind of figure, over minutes; for light pages and for dark ones.

import { LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

import type { Picture } from "./context.ts";
import { allSeries, type Sample, type Series } from "./soak-samples.ts";

use([LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

interface Theme {
  readonly name: string;
  readonly text: string;
  readonly line: string;
  readonly colors: readonly string[];
}

const themes: readonly Theme[] = [
  { name: "light", text: "#1f2328", line: "#d1d9e0", colors: ["#0969da", "#bc4c00", "#1a7f37"] },
  { name: "dark", text: "#e6edf3", line: "#3d444d", colors: ["#58a6ff", "#f0883e", "#3fb950"] },
];

const panels = [...new Set(allSeries.map(({ panel }) => panel))];
const columns = 2;
const panel = { width: 350, height: 120, left: 60, top: 40, gapX: 80, gapY: 72 };
const width = panel.left + columns * (panel.width + panel.gapX);
const height = panel.top + Math.ceil(panels.length / columns) * (panel.height + panel.gapY);

const placeOf = (index: number) => ({
  left: panel.left + (index % columns) * (panel.width + panel.gapX),
  top: panel.top + Math.floor(index / columns) * (panel.height + panel.gapY),
});

const lineOf = (name: string, samples: readonly Sample[]) =>
  samples.map(({ seconds, figures }) => [seconds / 60, figures[name] ?? null]);

/** The panel's name, and where it has several lines, theirs in their colours. */
const titleOf = (
  text: string,
  lines: readonly Series[],
  { left, top }: { readonly left: number; readonly top: number },
  theme: Theme,
) => ({
  text: [text, ...(lines.length > 1 ? lines.map(({ name }, color) => `{line${color}|${name}}`) : [])].join(
    "   ",
  ),
  left: left - 40,
  top: top - 34,
  textStyle: {
    color: theme.text,
    fontSize: 13,
    fontWeight: "normal",
    rich: Object.fromEntries(theme.colors.map((color, index) => [`line${index}`, { color, fontSize: 13 }])),
  },
});

const draw = (samples: readonly Sample[], theme: Theme): string => {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  const drawn = panels.map((name) => allSeries.filter((series) => series.panel === name));
  chart.setOption({
    animation: false,
    backgroundColor: "transparent",
    textStyle: { fontFamily: "system-ui, sans-serif" },
    title: panels.map((text, index) => titleOf(text, drawn[index] ?? [], placeOf(index), theme)),
    grid: panels.map((_, index) => ({ ...placeOf(index), width: panel.width, height: panel.height })),
    xAxis: panels.map((_, gridIndex) => ({
      type: "value",
      gridIndex,
      min: 0,
      max: (samples.at(-1)?.seconds ?? 0) / 60,
      axisLabel: { color: theme.text, formatter: "{value} min", hideOverlap: true, showMaxLabel: false },
      splitLine: { show: false },
      axisLine: { lineStyle: { color: theme.line } },
    })),
    yAxis: panels.map((_, gridIndex) => ({
      type: "value",
      gridIndex,
      min: 0,
      splitNumber: 3,
      axisLabel: { color: theme.text },
      splitLine: { lineStyle: { color: theme.line } },
    })),
    series: drawn.flatMap((all, index) =>
      all.map(({ name }, color) => ({
        type: "line",
        name,
        xAxisIndex: index,
        yAxisIndex: index,
        showSymbol: false,
        lineStyle: { width: 1.5 },
        color: theme.colors[color % theme.colors.length] ?? "",
        data: lineOf(name, samples),
      })),
    ),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
};

/** `soak-light.svg` and `soak-dark.svg`. */
export const drawSoak = (samples: readonly Sample[]): readonly Picture[] =>
  themes.map((theme) => ({ name: `soak-${theme.name}.svg`, svg: `${draw(samples, theme)}\n` }));
