//! What the benchmark was asked to do. A mistake is one line and exit code 2.

import { Command, CommanderError, InvalidArgumentError, Option } from "commander";

export interface Wish {
  /** Names of measures or of groups, null for all. */
  readonly only: readonly string[] | null;
  readonly scale: number;
  /** Null: as each measure has it. */
  readonly rounds: number | null;
  readonly eventsMax: number | null;
  readonly soakMs: number | null;
  readonly jsonFile: string;
  /** A folder to draw the charts into. */
  readonly chartFolder: string | null;
  /** A Markdown file whose block between the markers is replaced. */
  readonly docFile: string | null;
  /** Where `initdb` and `postgres` are; null for those that come with the packages. */
  readonly binDir: string | null;
  /** Settings of the server beyond the stated ones. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Something else to say than a figure, and the exit code. */
export interface Answer {
  readonly print: string;
  readonly exitCode: 0 | 2;
}

/** A file for each choice: a run of one kind leaves the figures of the others as they are. */
const defaultJsonFile = ({ only, soak }: Pick<Flags, "only" | "soak">): string =>
  `bench/results/${["latest", ...(soak === undefined ? (only ?? []) : ["soak"])].join("-")}.json`;

const scales: Readonly<Record<string, number>> = { tiny: 0.005, quick: 0.02, full: 1 };
const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

const parseScale = (text: string): number => {
  const scale = scales[text] ?? Number(text);
  if (scale > 0 && scale <= 100) return scale;
  throw new InvalidArgumentError("say tiny, quick, full, or a number such as 0.5.");
};

const parseCount = (text: string): number => {
  const count = Number(text.replaceAll(/[_,]/g, ""));
  if (Number.isSafeInteger(count) && count >= 1) return count;
  throw new InvalidArgumentError("say a whole number from 1 on.");
};

const parseDurationMs = (text: string): number => {
  const [, amount, unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  const ms = Number(amount) * (unitsMs[unit] ?? Number.NaN);
  if (ms > 0) return ms;
  throw new InvalidArgumentError("say a time with its unit, such as 90s or 30m.");
};

const parseNames =
  (known: ReadonlySet<string>) =>
  (text: string): readonly string[] => {
    const names = text.split(",").map((name) => name.trim());
    const unknown = names.find((name) => !known.has(name));
    if (unknown === undefined) return names;
    throw new InvalidArgumentError(`there is no "${unknown}"; there are ${[...known].join(", ")}.`);
  };

const parseSetting = (
  text: string,
  before: Readonly<Record<string, string>> = {},
): Record<string, string> => {
  const [, name, value] = /^([a-z_.]+)=(.*)$/.exec(text) ?? [];
  if (name === "port" || name === "listen_addresses") {
    throw new InvalidArgumentError(`the benchmark chooses ${name} itself.`);
  }
  if (name !== undefined && value !== undefined) return { ...before, [name]: value };
  throw new InvalidArgumentError("say it as postgresql.conf does, such as shared_buffers=1GB.");
};

interface Flags {
  readonly only?: readonly string[];
  readonly scale: number;
  readonly rounds?: number;
  readonly events?: number;
  readonly soak?: number;
  readonly json?: string;
  readonly chart?: string;
  readonly doc?: string;
  readonly binDir?: string;
  readonly set?: Readonly<Record<string, string>>;
}

export interface Choice {
  readonly name: string;
  readonly about: string;
}

/** As somebody else would type it: where the figures went on this machine is nobody's business. */
export const toldCommand = (argv: readonly string[]): string => {
  const isOfJson = (index: number): boolean =>
    argv[index]?.startsWith("--json=") === true || argv[index] === "--json" || argv[index - 1] === "--json";
  return ["bun run bench", ...argv.filter((_, index) => !isOfJson(index))].join(" ");
};

export const readCommandLine = (argv: readonly string[], choices: readonly Choice[]): Wish | Answer => {
  const written: string[] = [];
  const width = Math.max(...choices.map(({ name }) => name.length));
  const list = choices.map(({ name, about }) => `  ${name.padEnd(width)}  ${about}`).join("\n");
  const program = new Command("bun run bench")
    .description(
      "Measures pgstream beside the raw database, in turns, on a PostgreSQL of its own; every delivery is checked.",
    )
    .option("--only <names>", "what to measure, by commas", parseNames(new Set(choices.map((it) => it.name))))
    .option("--scale <scale>", "tiny, quick (everything in under a minute), full, or a number", parseScale, 1)
    .option(
      "--rounds <count>",
      "how often measured thing and limit take turns (9 times where a turn is short, else and below full scale 3)",
      parseCount,
    )
    .option("--events <count>", "how far a growing log grows", parseCount)
    .addOption(
      new Option("--soak <time>", "a day compressed into, e.g., 30m; nothing else is measured")
        .argParser(parseDurationMs)
        .conflicts("only"),
    )
    .option(
      "--json <file>",
      "where the figures go (bench/results/latest.json, a name of its own for each --only)",
    )
    .option("--chart <folder>", "draw performance-light.svg and performance-dark.svg there")
    .option(
      "--doc <file>",
      "put the table into this Markdown file, between its markers, and performance.json beside it",
    )
    .option("--bin-dir <folder>", "measure the PostgreSQL whose initdb and postgres are there")
    .option("--set <name=value>", "a setting of the server, may be repeated", parseSetting)
    .helpOption("-h, --help", "print this")
    .addHelpText("after", `\nWhat there is to measure:\n${list}\n`)
    .addHelpText(
      "after",
      "Exit codes: 0 measured, 1 failed or an event was lost, repeated, reordered or altered, 2 a wrong flag, 130 interrupted.",
    )
    .allowExcessArguments(false)
    .configureOutput({ writeOut: (text) => written.push(text), outputError: () => undefined })
    .exitOverride();
  try {
    program.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { print: written.join("").trimEnd(), exitCode: 0 };
    return {
      print: `bench: ${error.message.replace(/^error: /, "").replace(/\.$/, "")}; --help lists the flags`,
      exitCode: 2,
    };
  }
  const flags = program.opts<Flags>();
  return {
    only: flags.only ?? null,
    scale: flags.scale,
    rounds: flags.rounds ?? null,
    eventsMax: flags.events ?? null,
    soakMs: flags.soak ?? null,
    jsonFile: flags.json ?? defaultJsonFile(flags),
    chartFolder: flags.chart ?? null,
    docFile: flags.doc ?? null,
    binDir: flags.binDir ?? null,
    settings: flags.set ?? {},
  };
};
