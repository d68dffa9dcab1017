//! Where the figures of a run go. Each place is tried before anything is measured: a report that cannot be written is a run
//! in vain.

import { existsSync } from "node:fs";
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Wish } from "./command-line.ts";
import type { Picture } from "./context.ts";
import { markdownOf, replaceBlock, type Report } from "./report.ts";

export type Outputs = Pick<Wish, "jsonFile" | "chartFolder" | "docFile">;

/** Beside a table, the figures that it was made of. */
const figuresBeside = (docFile: string): string => join(dirname(docFile), "performance.json");

/** As it will be written to; what is there stays as it is. */
const tryToWrite = async (file: string): Promise<void> => {
  await mkdir(dirname(file), { recursive: true });
  const isNew = !existsSync(file);
  await (await open(file, "a")).close();
  if (isNew) await rm(file);
};

/** The first place that cannot be written to, and why, in one line; null when there is none. */
export const obstacleOf = async ({ jsonFile, chartFolder, docFile }: Outputs): Promise<string | null> => {
  let flag = "--json";
  try {
    await tryToWrite(jsonFile);
    flag = "--chart";
    if (chartFolder !== null) await tryToWrite(join(chartFolder, "performance-light.svg"));
    flag = "--doc";
    if (docFile !== null) {
      replaceBlock(await readFile(docFile, "utf8"), "");
      await tryToWrite(docFile);
      await tryToWrite(figuresBeside(docFile));
    }
    return null;
  } catch (error) {
    return `${flag}: ${error instanceof Error ? error.message : String(error)}`;
  }
};

/** What is committed is formatted as the house formats; where its formatter is missing, nobody checks that either. */
const formatAsCommitted = async (...files: readonly string[]): Promise<void> => {
  const root = join(import.meta.dir, "..");
  const formatter = join(root, "node_modules", ".bin", "oxfmt");
  if (!existsSync(formatter)) return;
  const config = join(root, ".oxfmtrc.json");
  await Bun.spawn([process.execPath, formatter, "--config", config, ...files], {
    stdio: ["ignore", "ignore", "ignore"],
  }).exited;
};

export const writeReport = async (
  { jsonFile, chartFolder, docFile }: Outputs,
  report: Report,
  pictures: readonly Picture[],
  say: (line: string) => void,
): Promise<void> => {
  const write = async (file: string, text: string): Promise<void> => {
    await mkdir(dirname(file), { recursive: true });
    await Bun.write(file, text);
    say(`wrote ${file}`);
  };
  const figures = `${JSON.stringify(report, null, 2)}\n`;
  await write(jsonFile, figures);
  const drawn = [...pictures];
  if (chartFolder !== null) {
    // Loaded only when asked for: the drawing library takes longer to load than all the rest.
    const { drawCharts } = await import("./chart.ts");
    drawn.push(...drawCharts(report.rows));
  }
  for (const { name, svg } of drawn) await write(join(chartFolder ?? dirname(jsonFile), name), svg);
  if (docFile !== null) {
    await write(docFile, replaceBlock(await Bun.file(docFile).text(), markdownOf(report)));
    await write(figuresBeside(docFile), figures);
    await formatAsCommitted(docFile, figuresBeside(docFile));
  }
};
