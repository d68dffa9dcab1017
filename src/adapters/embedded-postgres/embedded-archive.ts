//! The archive of PostgreSQL inside a compiled binary. Null here: the build replaces this module by one that imports the file.

export interface EmbeddedArchive {
  /** A path that `Bun.file` can read, also inside the binary. */
  readonly file: string;
  /** Names its content. */
  readonly key: string;
}

export const embeddedArchive: EmbeddedArchive | null = null as EmbeddedArchive | null;
