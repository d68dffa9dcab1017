//! Which migrations a database still needs. Forward only: what was applied must be a beginning of what is known.

import { PgstreamError } from "./errors.ts";

export interface Migration {
  /** 1, 2, 3, … without holes. */
  readonly number: number;
  /** Of the file, e.g. `0001_log.sql`. */
  readonly file: string;
  /** SQL with `\n` as line end. */
  readonly text: string;
  /** SHA-256 of `text`, hexadecimal. */
  readonly checksum: string;
}

/** A row of `pgstream.migrations`. */
export type AppliedMigration = Omit<Migration, "text">;

/** Line ends as the file has them in the repository, whatever a checkout made of them. */
export const normaliseLineEnds = (text: string): string => text.replaceAll(/\r\n?/g, "\n");

const fileName = /^(?<number>\d{4})_[a-z0-9_]+\.sql$/;

/**
 * The number in front of a file's name.
 * @throws PgstreamError `internal` when it is not `expected`: this program was put together wrongly
 */
export const parseMigrationNumber = (file: string, expected: number): number => {
  const number = Number(fileName.exec(file)?.groups?.["number"]);
  if (number === expected) return number;
  throw new PgstreamError(
    "internal",
    `migration ${file} is out of order: number ${expected} is due, named like ${String(expected).padStart(4, "0")}_name.sql`,
  );
};

const tampered = (what: string): PgstreamError =>
  new PgstreamError(
    "migration_tampered",
    `${what}: this database and this program do not belong together; run the program that made it, or restore pgstream.migrations`,
  );

/**
 * What is left to apply, in order.
 * @param known every migration of this program, numbered 1, 2, 3, …
 * @param applied in order of their numbers
 * @throws PgstreamError `schema_newer`, `migration_tampered`; both name the file
 */
export const planMigrations = (
  known: readonly Migration[],
  applied: readonly AppliedMigration[],
): readonly Migration[] => {
  for (const [index, row] of applied.entries()) {
    const migration = known[index];
    if (migration === undefined) {
      throw new PgstreamError(
        "schema_newer",
        `the database has migration ${row.file}, which this program does not know: run a newer pgstream`,
      );
    }
    if (row.number !== migration.number) {
      throw tampered(`pgstream.migrations has ${row.file}, but not ${migration.file}, which goes before it`);
    }
    if (row.checksum !== migration.checksum) {
      throw tampered(`migration ${migration.file} is not the one that was applied as ${row.file}`);
    }
  }
  return known.slice(applied.length);
};
