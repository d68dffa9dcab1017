//! Where a new subscription starts.

import type { Parsed, Parser } from "./parser.ts";

export type From =
  | { readonly at: "earliest" | "latest" }
  | { readonly at: "time"; readonly time: Date }
  | { readonly at: "id"; readonly id: bigint }
  | { readonly at: "cursor"; readonly cursor: string };

const idMax = 2n ** 63n - 1n;

// The zone is mandatory: a consumer must start at the same event on every machine.
const moment =
  /^(\d{4})-(\d{2})-(\d{2})T(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-][01]\d:[0-5]\d)$/;

const parseTime = (text: string): Date | null => {
  const [, year, month, day] = moment.exec(text) ?? [];
  if (year === undefined || month === undefined || day === undefined) return null;
  // Date.parse makes March 3rd of February 31st.
  const daysInMonth = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  const time = new Date(text);
  return Number(day) > daysInMonth || Number.isNaN(time.getTime()) ? null : time;
};

const parseTagged = (text: string): From | null => {
  const [, tag, rest = ""] = /^(id|cursor):(.+)$/.exec(text) ?? [];
  if (tag === "id" && /^\d{1,19}$/.test(rest) && BigInt(rest) <= idMax) return { at: "id", id: BigInt(rest) };
  // The cursor's own form is checked by the core, which alone can read it.
  return tag === "cursor" && /^[\w.~-]+$/.test(rest) ? { at: "cursor", cursor: rest } : null;
};

const parse = (text: string): Parsed<From> => {
  if (text === "earliest" || text === "latest") return { value: { at: text } };
  const time = parseTime(text);
  const value: From | null = time === null ? parseTagged(text) : { at: "time", time };
  return value === null
    ? {
        problem:
          "is no starting point: write earliest, latest, a time with its zone such as 2026-01-31T09:00:00Z, id:123 or cursor:…",
      }
    : { value };
};

export const from: Parser<From> = { unit: "position", parse };
