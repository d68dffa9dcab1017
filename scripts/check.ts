//! `bun run check`: everything that can be judged without a database, at once, in a few seconds. Prints each step with its
//! time, and what a failed one said. The tools are started by the Bun that runs this: neither `bun` nor `node` need be on
//! the PATH.

import { existsSync } from "node:fs";
import { arch, platform } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const stepDeadlineMs = 120_000;

interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** What to do about a failure, when that is always the same. */
  readonly mend?: string;
}

const tool = (name: string, ...args: readonly string[]): readonly string[] => [
  process.execPath,
  join(root, "node_modules", ".bin", name),
  ...args,
];

// Named, because the linter left to itself walks node_modules, too.
const sourceFolders = ["src", "test", "scripts", "bench"].filter((folder) => existsSync(join(root, folder)));

const steps: readonly Step[] = [
  { name: "format", command: tool("oxfmt", "--check", "."), mend: "bun run format" },
  { name: "lint", command: tool("oxlint", "--deny-warnings", ...sourceFolders) },
  { name: "types", command: tool("tsc") },
  { name: "unused", command: tool("knip", "--no-config-hints") },
  {
    name: "unit tests",
    command: [
      process.execPath,
      "test",
      "--only-failures",
      "--timeout=60000",
      "test/unit",
      "test/tidy.test.ts",
    ],
  },
];

/** The linter starts its type-aware half by way of `node`, unless it is told where the program itself is. */
const environment = {
  ...process.env,
  OXLINT_TSGOLINT_PATH: join(root, "node_modules", "@oxlint-tsgolint", `${platform()}-${arch()}`, "tsgolint"),
};

const run = async ({ name, command, mend }: Step): Promise<boolean> => {
  const startedAtMs = performance.now();
  const child = Bun.spawn([...command], {
    cwd: root,
    env: environment,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: stepDeadlineMs,
    killSignal: "SIGKILL",
  });
  const [out, err, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const seconds = ((performance.now() - startedAtMs) / 1_000).toFixed(1);
  if (exitCode === 0) {
    console.log(`ok    ${name} (${seconds} s)`);
    return true;
  }
  const hint = mend === undefined ? "" : `: mend with ${mend}`;
  console.log(`\n${`${out}\n${err}`.trim()}\n\nFAIL  ${name} (${seconds} s)${hint}\n`);
  return false;
};

if (!existsSync(join(root, "node_modules"))) {
  console.error("the packages are not installed: run bun install --frozen-lockfile");
  process.exit(1);
}
const results = await Promise.all(steps.map(run));
process.exit(results.every(Boolean) ? 0 : 1);
