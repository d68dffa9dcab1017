//! Several values in one text, joined by what none of them can hold: JSON escapes it, and names may not have it.

export const separator = "\u001E";

/** A value that may be missing is empty then. */
export const orNull = (text: string | undefined): string | null =>
  text === undefined || text === "" ? null : text;
