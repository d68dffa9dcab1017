//! The command line, read by commander from the table of settings. Only the flags' text is taken here: commander would
//! take an empty variable for a value and any value of a switch for "on", so the environment is read in given.ts.

import { Argument, Command, CommanderError, Option } from "commander";

import { messageOf } from "../core/errors.ts";
import { invalidConfig } from "./given.ts";
import { onOff } from "./parser.ts";
import type { Setting } from "./setting.ts";
import { allSettings, type SettingGroup } from "./settings.ts";

/** What the user wants: to read something, or to run a command. */
export type Wish =
  | { readonly print: string }
  | { readonly command: string; readonly flags: ReadonlyMap<string, string> };

export interface CommandLineOptions {
  readonly version: string;
  /** What each command does, by name; the first is the default. */
  readonly commands: Readonly<Record<string, { readonly about: string }>>;
}

const headings: Readonly<Record<SettingGroup, string>> = {
  process: "Process",
  database: "Postgres",
  migrator: "Migrator",
  producer: "Producer",
  consumer: "Consumer",
  purger: "Purger",
  demo: "Demo",
};

const helpOf = ({ env, about, secret, default: { text } }: Setting<unknown>): string =>
  `${about} (default: ${text}; env: ${env}${secret ? ` or ${env}_FILE` : ""})`;

const optionOf = (it: Setting<unknown>, flag: string, heading: string): Option => {
  const { unit } = it.parser;
  // A bare switch means on; any other flag needs its value.
  const option =
    it.parser === onOff ? new Option(`${flag} [${unit}]`).preset("on") : new Option(`${flag} <${unit}>`);
  option.description = helpOf(it);
  return option.helpGroup(`${heading}:`);
};

const withoutFlag = (): string =>
  [
    "Only from the environment or a file:",
    ...allSettings
      .map(({ setting }) => setting)
      .filter(({ flag }) => flag === null)
      .map((it) => `  ${it.env} <${it.parser.unit}>: ${it.about} (or ${it.env}_FILE)`),
  ].join("\n");

const epilogue = `
A flag wins over the environment, the environment over the default; an empty variable counts as not set.
Exit codes: 0 done, 1 failed, 2 wrong configuration, 70 a bug, 130 and 143 when a second signal cuts the stop short.`;

const describeCommands = (commands: CommandLineOptions["commands"]): string =>
  Object.entries(commands)
    .map(([name, { about }]) => `${name}: ${about}`)
    .join("; ");

/** @throws PgstreamError `invalid_config` */
export const readCommandLine = (argv: readonly string[], { version, commands }: CommandLineOptions): Wish => {
  const names = Object.keys(commands);
  const written: string[] = [];
  const program = new Command("pgstream")
    .description("An event stream on plain PostgreSQL.")
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this")
    .addArgument(new Argument("[command]", describeCommands(commands)).choices(names).default(names[0]))
    .addHelpText("after", `\n${withoutFlag()}\n${epilogue}`)
    .configureHelp({ optionDescription: (it) => it.description, argumentDescription: (it) => it.description })
    .configureOutput({ writeOut: (text) => written.push(text), outputError: () => undefined })
    .exitOverride();
  const flagOf = new Map<string, string>();
  for (const { group, setting } of allSettings) {
    if (setting.flag === null) continue;
    const option = optionOf(setting, setting.flag, headings[group]);
    program.addOption(option);
    flagOf.set(option.attributeName(), setting.flag);
  }
  try {
    program.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { print: written.join("") };
    // Not what is given to a flag that is none: it may be a password.
    const problem = messageOf(error)
      .replace(/^error: /, "")
      .replace(/'(--[\w-]+)=.*'/, "'$1'");
    throw invalidConfig(`${problem}; pgstream --help lists what there is`, error);
  }
  const flags = Object.entries(program.opts<Record<string, string>>()).map(
    ([name, text]): [string, string] => [flagOf.get(name) ?? name, text],
  );
  return { command: String(program.processedArgs[0]), flags: new Map(flags) };
};
