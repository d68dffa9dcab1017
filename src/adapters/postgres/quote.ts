//! Names and texts inside SQL that cannot take parameters: DDL.

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Right whatever `standard_conforming_strings` says. */
export const quoteText = (text: string): string =>
  text.includes("\\")
    ? `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`
    : `'${text.replaceAll("'", "''")}'`;
