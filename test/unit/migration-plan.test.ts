import { describe, expect, test } from "bun:test";

import { hasCode, messageOf } from "../../src/core/errors.ts";
import {
  type AppliedMigration,
  type Migration,
  normaliseLineEnds,
  parseMigrationNumber,
  planMigrations,
} from "../../src/core/migration-plan.ts";

const migration = (number: number, checksum = `sum ${number}`): Migration => ({
  number,
  file: `000${number}_it.sql`,
  text: `select ${number}`,
  checksum,
});
const known = [migration(1), migration(2), migration(3)];

const errorOf = (applied: readonly AppliedMigration[]): unknown => {
  try {
    planMigrations(known, applied);
  } catch (error) {
    return error;
  }
  return null;
};

describe("planning migrations", () => {
  test("a new database needs all of them, in order", () => {
    expect(planMigrations(known, [])).toEqual(known);
  });

  test("what was applied is left out", () => {
    expect(planMigrations(known, [migration(1)])).toEqual([migration(2), migration(3)]);
    expect(planMigrations(known, known)).toEqual([]);
  });

  test("a file that only changed its name is still the same", () => {
    expect(planMigrations(known, [{ ...migration(1), file: "0001_old_name.sql" }])).toHaveLength(2);
  });

  test("a database that knows more is newer, and the file is named", () => {
    const error = errorOf([...known, migration(4)]);
    expect(hasCode(error, "schema_newer")).toBeTrue();
    expect(messageOf(error)).toContain("0004_it.sql");
  });

  test("another text under the same number was tampered with, and the file is named", () => {
    const error = errorOf([migration(1), migration(2, "other")]);
    expect(hasCode(error, "migration_tampered")).toBeTrue();
    expect(messageOf(error)).toContain("0002_it.sql");
  });

  test("a hole was tampered with, and the missing file is named", () => {
    const error = errorOf([migration(1), migration(3)]);
    expect(hasCode(error, "migration_tampered")).toBeTrue();
    expect(messageOf(error)).toContain("0002_it.sql");
  });
});

describe("a migration's file", () => {
  test("is the same text whatever the line ends of a checkout", () => {
    expect(normaliseLineEnds("a\r\nb\rc\n")).toBe("a\nb\nc\n");
  });

  test("begins with the number that is due", () => {
    expect(parseMigrationNumber("0007_seventh.sql", 7)).toBe(7);
    for (const wrong of ["0008_eighth.sql", "7_seventh.sql", "0007.sql", "0007_Seventh.sql", "seventh.sql"]) {
      expect(() => parseMigrationNumber(wrong, 7)).toThrow();
    }
  });
});
