//! Durations and sizes: a number with a unit. A bare duration is refused, because nobody can tell seconds from days.

import type { Parser } from "./parser.ts";

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

const msOf = new Map<string | undefined, number>(
  Object.entries({
    ms: 1,
    millisecond: 1,
    milliseconds: 1,
    s: second,
    sec: second,
    second,
    seconds: second,
    m: minute,
    min: minute,
    minute,
    minutes: minute,
    h: hour,
    hour,
    hours: hour,
    d: day,
    day,
    days: day,
    w: 7 * day,
    week: 7 * day,
    weeks: 7 * day,
  }),
);

// 100 years: beyond it a deadline is a mistake, and PostgreSQL's timestamps and JavaScript's dates stop agreeing.
const durationMsMax = 36_525 * day;

/** What a timer can be set to. */
export const timerMsMax = 2 ** 31 - 1;

export interface DurationLimits {
  /** Default 1. With 0 the bare text `0` is accepted: there the unit means nothing. */
  readonly minMs?: number;
  /** Default 100 years. */
  readonly maxMs?: number;
}

const longest = (maxMs: number): string =>
  maxMs === durationMsMax ? "100 years" : `${Math.floor(maxMs / day)} days`;

/** Milliseconds. */
export const duration = ({ minMs = 1, maxMs = durationMsMax }: DurationLimits = {}): Parser<number> => ({
  unit: "duration",
  parse: (text) => {
    if (text === "0" && minMs === 0) return { value: 0 };
    const [, amount, unit] = /^(\d{1,15}(?:\.\d{1,9})?) ?([a-z]+)$/.exec(text) ?? [];
    const factor = msOf.get(unit);
    if (factor === undefined) {
      return {
        problem: "is not a duration: write a number and a unit, such as 500ms, 90s, 5min, 2h or 7 days",
      };
    }
    const value = Math.round(Number(amount) * factor);
    if (value < minMs) return { problem: `is too short: at least ${minMs}ms` };
    if (value > maxMs) return { problem: `is too long: at most ${longest(maxMs)}` };
    return { value };
  },
});

const bytesOf = new Map<string | undefined, number>(
  Object.entries({
    "": 1,
    B: 1,
    kB: 1e3,
    KB: 1e3,
    MB: 1e6,
    GB: 1e9,
    TB: 1e12,
    KiB: 2 ** 10,
    MiB: 2 ** 20,
    GiB: 2 ** 30,
    TiB: 2 ** 40,
  }),
);

/** Bytes; `MB` is a million, `MiB` is 2^20. */
export const bytes = ({ min, max }: { min: number; max: number }): Parser<number> => ({
  unit: "size",
  parse: (text) => {
    const [, amount, unit] = /^(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]*)$/.exec(text) ?? [];
    const factor = bytesOf.get(unit);
    if (factor === undefined) {
      return { problem: "is not a size: write bytes, or a number and a unit, such as 512KiB, 1MB or 10GB" };
    }
    const value = Math.round(Number(amount) * factor);
    return value >= min && value <= max
      ? { value }
      : { problem: `is out of range: from ${min} to ${max} bytes` };
  },
});
