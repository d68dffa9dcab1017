import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { makeMigrations, migrations } from "../../src/adapters/postgres/migrate/migrations.ts";

const folder = join(import.meta.dir, "../../migrations");
const withoutBodies = (text: string): string =>
  text.replaceAll(/\$(?<tag>\w*)\$.*?\$\k<tag>\$/gs, "''").replaceAll(/--.*$/gm, "");

describe("the migrations of this program", () => {
  test("are all the files of migrations/, none forgotten", () => {
    expect(migrations.map(({ file }) => file)).toEqual(readdirSync(folder).sort());
  });

  test("carry the text of their own file", () => {
    for (const { file, text } of migrations) expect(text).toBe(readFileSync(join(folder, file), "utf8"));
  });

  // Such a statement would end the transaction that a migration shares with its row, or cannot run in one.
  test("neither end their transaction nor need to be outside of one", () => {
    for (const { file, text } of migrations) {
      const found =
        /^\s*(?:begin|start|commit|end|rollback|abort|prepare|vacuum|set\s+(?!local)|.*\bconcurrently)\b/im.exec(
          withoutBodies(text),
        );
      expect({ file, found: found?.[0] ?? null }).toEqual({ file, found: null });
    }
  });

  test("must be numbered without a hole", () => {
    expect(() => makeMigrations([["0002_second.sql", "select 2"]])).toThrow();
    expect(() =>
      makeMigrations([
        ["0001_a.sql", ""],
        ["0001_b.sql", ""],
      ]),
    ).toThrow();
  });

  test("have the same checksum with any line ends, and another with any other text", () => {
    const checksum = (text: string) => makeMigrations([["0001_it.sql", text]])[0]?.checksum;
    expect(checksum("select 1\r\n")).toBe(checksum("select 1\n"));
    expect(checksum("select 2\n")).not.toBe(checksum("select 1\n"));
  });
});
