import { describe, expect, test } from "bun:test";

import { readCommandLine } from "../../../src/config/command-line.ts";
import { refuseHostileEnvironment } from "../../../src/config/environment.ts";
import { allSettings } from "../../../src/config/settings.ts";
import { PgstreamError } from "../../../src/core/errors.ts";

const options = { version: "1.2.3", commands: { serve: { about: "run" }, verify: { about: "compare" } } };
const readLine = (...argv: readonly string[]) => readCommandLine(argv, options);

const refusal = (attempt: () => unknown): string => {
  try {
    attempt();
  } catch (error) {
    if (error instanceof PgstreamError && error.code === "invalid_config") return error.message;
    throw error;
  }
  throw new Error("was not refused");
};

const table = allSettings.map(({ setting }) => setting);

describe("the command line", () => {
  test("without a command serves", () => {
    expect(readLine("--roles=all")).toEqual({ command: "serve", flags: new Map([["--roles", "all"]]) });
  });

  test("takes flags on either side of the command", () => {
    expect(readLine("--topics", "a", "verify", "--for", "20s")).toEqual({
      command: "verify",
      flags: new Map([
        ["--topics", "a"],
        ["--for", "20s"],
      ]),
    });
  });

  test("takes a bare switch for on", () => {
    const switches = (...argv: string[]) => readLine(...argv) as { flags: ReadonlyMap<string, string> };
    expect(switches("--dry-run").flags.get("--dry-run")).toBe("on");
    expect(switches("--create-topics=off").flags.get("--create-topics")).toBe("off");
  });

  test.each(["--rols=all", "-x", "consumer", "verify more", "--roles", "--producer-password=x"])(
    "%s is one line that says where to look",
    (argv) => {
      const line = refusal(() => readLine(...argv.split(" ")));
      expect(line).toContain("--help");
      expect(line).not.toContain("\n");
    },
  );

  test("tells the version", () => {
    expect(readLine("--version")).toEqual({ print: "1.2.3\n" });
  });
});

describe("the help", () => {
  const wish = readLine("verify", "--help");
  const help = "print" in wish ? wish.print : "";

  test.each(table.map((it) => [it.env, it] as const))("lists %s with its unit and default", (env, it) => {
    const line = help.split("\n").find((text) => text.includes(env) && text.includes(`[${it.parser.unit}]`));
    const other = help.split("\n").find((text) => text.includes(env) && text.includes(`<${it.parser.unit}>`));
    expect(line ?? other).toContain(it.about);
    if (it.flag !== null) expect(line ?? other).toContain(`default: ${it.default.text}`);
  });

  test("lists the commands", () => {
    expect(help).toContain("serve: run; verify: compare");
  });
});

describe("the table of settings", () => {
  test("gives no name twice", () => {
    const names = table.flatMap(({ env, flag }) => [env, ...(flag === null ? [] : [flag])]);
    expect(new Set(names).size).toBe(names.length);
  });

  test("lets no password onto the command line, where every user of the machine could read it", () => {
    const passwords = table.filter(({ env }) => env.endsWith("_PASSWORD"));
    expect(passwords.length).toBeGreaterThan(0);
    for (const { flag, secret } of passwords) expect({ flag, secret }).toEqual({ flag: null, secret: true });
    const told = refusal(() => readLine("--producer-password=hush='hush'"));
    expect(told).toContain("unknown option '--producer-password'");
    expect(told).not.toContain("hush");
  });
});

describe("the environment", () => {
  test.each(["BUN_OPTIONS", "BUN_INSPECT", "BUN_INSPECT_PRELOAD", "NODE_OPTIONS"])(
    "with %s is refused by the binary, and left to a developer otherwise",
    (name) => {
      expect(refusal(() => refuseHostileEnvironment({ [name]: "x" }, { compiled: true }))).toContain(name);
      refuseHostileEnvironment({ [name]: "x" }, { compiled: false });
      refuseHostileEnvironment({ [name]: "" }, { compiled: true });
    },
  );

  test("that would make TLS trust everybody is always refused", () => {
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
    expect(refusal(() => refuseHostileEnvironment(env, { compiled: false }))).toContain("DATABASE_TLS");
  });
});
