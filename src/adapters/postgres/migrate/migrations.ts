//! The migrations that this program carries, checked when it starts. A file once released never changes.

import { createHash } from "node:crypto";

import log from "../../../../migrations/0001_log.sql" with { type: "text" };
import publish from "../../../../migrations/0002_publish.sql" with { type: "text" };
import ticksAndSegments from "../../../../migrations/0003_ticks_and_segments.sql" with { type: "text" };
import retention from "../../../../migrations/0004_retention.sql" with { type: "text" };
import { normaliseLineEnds, parseMigrationNumber, type Migration } from "../../../core/migration-plan.ts";

/** A file's name and its text. */
export type MigrationFile = readonly [file: string, text: string];

/**
 * @param files in the order in which they are to be applied
 * @throws PgstreamError `internal` when they are not numbered 1, 2, 3, …
 */
export const makeMigrations = (files: readonly MigrationFile[]): readonly Migration[] =>
  files.map(([file, raw], index) => {
    const text = normaliseLineEnds(raw);
    const checksum = createHash("sha256").update(text).digest("hex");
    return { number: parseMigrationNumber(file, index + 1), file, text, checksum };
  });

export const migrations = makeMigrations([
  ["0001_log.sql", log],
  ["0002_publish.sql", publish],
  ["0003_ticks_and_segments.sql", ticksAndSegments],
  ["0004_retention.sql", retention],
]);
