//! Where a new subscription starts.

import { decodeCursor } from "../core/cursor-codec.ts";
import { messageOf } from "../core/errors.ts";
import type { From } from "../core/read/start.ts";
import type { Parsed, Parser } from "./parser.ts";

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

const parseCursor = (text: string): Parsed<From> => {
  try {
    return { value: { kind: "cursor", cursor: decodeCursor(text) } };
  } catch (error) {
    return { problem: `is no starting point: ${messageOf(error)}` };
  }
};

const parse = (text: string): Parsed<From> => {
  if (text === "earliest" || text === "latest") return { value: { kind: text } };
  if (text.startsWith("cursor:")) return parseCursor(text.slice("cursor:".length));
  const [, id] = /^id:(\d{1,19})$/.exec(text) ?? [];
  if (id !== undefined && BigInt(id) <= idMax) return { value: { kind: "id", id: BigInt(id) } };
  const at = parseTime(text);
  if (at !== null) return { value: { kind: "time", at } };
  return {
    problem:
      "is no starting point: write earliest, latest, a time with its zone such as 2026-01-31T09:00:00Z, id:123 or cursor:…",
  };
};

export const from: Parser<From> = { unit: "position", parse };
