//! The rules of the house, on the whole tree; and each of them on a planted violation, since a guard that nobody has seen
//! bite may be asleep.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import * as rules from "./support/house-rules.ts";
import type { Rule, SourceFile } from "./support/house-rules.ts";

const root = join(import.meta.dir, "..");

const patterns = [
  "{src,test,scripts,bench,migrations,docs}/**/*.{ts,sql,md,json,go,mod}",
  "*.{md,json,toml,yml,yaml}",
  "{Dockerfile,.ci/run,.env.example,.dockerignore}",
];

// These two are full of planted violations.
const ownFiles = ["test/tidy.test.ts", "test/support/house-rules.ts"];

const readTree = async (): Promise<readonly SourceFile[]> => {
  const found = await Promise.all(
    patterns.map(
      async (pattern) => await Array.fromAsync(new Bun.Glob(pattern).scan({ cwd: root, dot: true })),
    ),
  );
  const paths = [...new Set(found.flat())].filter((path) => !ownFiles.includes(path));
  return await Promise.all(
    paths.map(async (path) => ({ path, text: await Bun.file(join(root, path)).text() })),
  );
};

/** The files that break the rule, and below the files that come near and do not. */
const cases: Readonly<
  Record<keyof typeof rules, { readonly bad: readonly SourceFile[]; readonly good: readonly SourceFile[] }>
> = {
  layersPointOneWay: {
    bad: [
      { path: "src/core/a.ts", text: 'import type { B } from "../features/b.ts";' },
      { path: "src/features/a.ts", text: 'export { b } from "../adapters/mongo/b.ts";' },
      { path: "src/adapters/mongo/a.ts", text: 'import {\n  b,\n} from "../../http/b.ts";' },
      { path: "src/http/a.ts", text: 'const b = await import("../adapters/mongo/b.ts");' },
      { path: "src/library/a.ts", text: 'import "../roles/b.ts";' },
      { path: "src/library/a.ts", text: 'import { b } from "../config/b.ts";' },
      { path: "src/roles/a.ts", text: 'import { main } from "../main.ts";' },
      { path: "src/helpers/a.ts", text: "" },
    ],
    good: [
      { path: "src/main.ts", text: 'import { a } from "./roles/a.ts";' },
      {
        path: "src/roles/a.ts",
        text: 'import { b } from "../config/b.ts";\nimport { c } from "../core/c.ts";',
      },
      { path: "test/unit/a.test.ts", text: 'import { b } from "../../src/roles/b.ts";' },
    ],
  },
  coreImportsNoPackage: {
    bad: [
      { path: "src/core/a.ts", text: 'import { z } from "zod";' },
      { path: "src/core/a.ts", text: 'import { join } from "node:path";' },
    ],
    good: [{ path: "src/core/a.ts", text: 'import { b } from "./b.ts";' }],
  },
  adaptersDoNotKnowEachOther: {
    bad: [{ path: "src/adapters/mongo/a.ts", text: 'import { b } from "../sqlite/b.ts";' }],
    good: [
      {
        path: "src/adapters/mongo/a.ts",
        text: 'import { b } from "./b.ts";\nimport { c } from "../../core/c.ts";',
      },
    ],
  },
  packagesStayWithTheirKeeper: {
    bad: [
      { path: "src/roles/a.ts", text: 'import type { Sql } from "postgres";' },
      { path: "src/library/a.ts", text: 'import { ObjectId } from "mongodb/lib/bson";' },
      { path: "src/features/a.ts", text: 'import { Elysia } from "elysia";' },
      { path: "src/adapters/mongo/a.ts", text: 'import { Database } from "bun:sqlite";' },
    ],
    good: [
      { path: "src/adapters/postgres/a.ts", text: 'import postgres from "postgres";' },
      { path: "test/unit/a.test.ts", text: 'import postgres from "postgres";' },
    ],
  },
  onlyTheEdgeReadsTheProcess: {
    bad: [
      { path: "src/roles/a.ts", text: "const a = process.env.HOME;" },
      { path: "src/http/a.ts", text: "const a = Bun.env.HOME;" },
      { path: "src/library/a.ts", text: 'process.on("SIGTERM", stop);' },
    ],
    good: [
      { path: "src/main.ts", text: "process.exit(1);" },
      {
        path: "src/roles/a.ts",
        text: "// process.env is none of our business\nconst a = config.process.env;",
      },
    ],
  },
  filesAreShort: {
    bad: [
      { path: "src/core/a.ts", text: "//\n".repeat(251) },
      { path: "src/roles/purger.ts", text: "a();\n".repeat(101) },
    ],
    good: [
      { path: "src/core/a.ts", text: "a();\n".repeat(250) },
      { path: "src/roles/purger.ts", text: "a(); // why\n\n// why\n".repeat(80) },
    ],
  },
  nothingIsLeftToDo: {
    bad: [
      { path: "docs/a.md", text: "a TODO b" },
      { path: "src/core/a.ts", text: "// FIXME" },
    ],
    good: [{ path: "docs/a.md", text: "what is left to do" }],
  },
  noPathOfOneMachine: {
    bad: [
      { path: "docs/a.md", text: "see /root/x" },
      { path: "test/a.test.ts", text: '"/home/me"' },
      { path: "docs/b.md", text: "--json /tmp/a.json" },
    ],
    good: [{ path: "docs/a.md", text: "https://example.org/home/page and ./work/x and /usr/lib/postgresql" }],
  },
  testsWaitForConditions: {
    bad: [
      { path: "test/unit/a.test.ts", text: "await Bun.sleep(5);" },
      { path: "test/unit/a.test.ts", text: "await new Promise((resolve) => setTimeout(resolve, 5));" },
      { path: "test/support/a.ts", text: 'import { setTimeout } from "node:timers/promises";' },
    ],
    good: [
      { path: "test/unit/a.test.ts", text: "// Bun.sleep(5) would not do\nawait clock.sleep(5);" },
      { path: "test/support/wait-for.ts", text: "await Bun.sleep(5);" },
      { path: "src/core/a.ts", text: "await Bun.sleep(5);" },
    ],
  },
  everyMigrationIsEmbedded: {
    bad: [
      { path: "migrations/0002_b.sql", text: "" },
      {
        path: "src/adapters/postgres/migrate/migrations.ts",
        text: 'import a from "../../../../migrations/0001_a.sql" with { type: "text" };',
      },
    ],
    good: [
      { path: "migrations/0001_a.sql", text: "" },
      {
        path: "src/adapters/postgres/migrate/migrations.ts",
        text: 'import a from "../../../../migrations/0001_a.sql" with { type: "text" };',
      },
    ],
  },
  changelogHasUnreleased: {
    bad: [{ path: "CHANGELOG.md", text: "# Changelog\n\nUnreleased things\n\n## 0.1.0\n" }],
    good: [{ path: "CHANGELOG.md", text: "# Changelog\n\n## Unreleased\n" }],
  },
  namesAreKebabCase: {
    bad: [
      { path: "src/core/aB.ts", text: "" },
      { path: "test/unit/a_b.test.ts", text: "" },
    ],
    good: [
      { path: "src/core/a-b.ts", text: "" },
      { path: "src/sql.d.ts", text: "" },
      { path: "docs/ADR.md", text: "" },
    ],
  },
  importsNameTheFile: {
    bad: [
      { path: "src/core/a.ts", text: 'import { b } from "./b";' },
      { path: "src/core/a.ts", text: 'import "../b.js";' },
    ],
    good: [{ path: "src/core/a.ts", text: 'import { b } from "./b.ts";' }],
  },
};

const tree = await readTree();

describe("the tree keeps the rule", () => {
  test.each(Object.entries(rules))("%s", (_, rule: Rule) => {
    expect(rule(tree)).toEqual([]);
  });

  test("and it was looked at: a rule over no files would hold, too", () => {
    const paths = tree.map(({ path }) => path);
    expect(paths).toContain("src/core/errors.ts");
    expect(paths).toContain("test/unit/support/wait-for.test.ts");
    expect(paths.filter((path) => path.startsWith("migrations/")).length).toBeGreaterThan(0);
  });
});

describe("the rule bites", () => {
  const named = Object.entries(rules) as [keyof typeof rules, Rule][];
  test.each(named)("%s", (name, rule) => {
    const { bad, good } = cases[name];
    // A rule about one file must find each of them alone; the others are about several at once.
    const isAboutOne = name !== "everyMigrationIsEmbedded";
    for (const files of isAboutOne ? bad.map((file) => [file]) : [bad]) expect(rule(files)).toHaveLength(1);
    expect(rule(good)).toEqual([]);
  });
});
