//! How one setting's text becomes a value. A wrong text is an expected outcome: it is returned, and never repeated
//! in the problem, so that whoever reports it can decide whether the text is a secret.

export type Parsed<T> = { readonly value: T } | { readonly problem: string };

export interface Parser<T> {
  /** What the help shows for the value, e.g. `duration`. */
  readonly unit: string;
  /** `problem` reads on from the text: "is not a number: write …". */
  readonly parse: (text: string) => Parsed<T>;
}

export const choice = <const T extends string>(...values: readonly T[]): Parser<T> => ({
  unit: values.join("|"),
  parse: (text) => {
    const value = values.find((it) => it === text);
    return value === undefined ? { problem: `is not one of ${values.join(", ")}` } : { value };
  },
});

const on = ["on", "true", "yes", "1"];
const off = ["off", "false", "no", "0"];

export const onOff: Parser<boolean> = {
  unit: "on|off",
  parse: (text) => {
    const position = text.toLowerCase();
    if (on.includes(position)) return { value: true };
    return off.includes(position) ? { value: false } : { problem: "is neither on nor off" };
  },
};

export const integer = (unit: string, { min, max }: { min: number; max: number }): Parser<number> => ({
  unit,
  parse: (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    return value >= min && value <= max
      ? { value }
      : { problem: `is not a whole number from ${min} to ${max}` };
  },
});

export const text = (unit: string): Parser<string> => ({
  unit,
  parse: (value) => (value === "" ? { problem: "is empty" } : { value }),
});

/** Splits at commas; blanks around an item do not count, empty items are dropped. */
export const splitList = (value: string): readonly string[] =>
  value
    .split(",")
    .map((it) => it.trim())
    .filter((it) => it !== "");
