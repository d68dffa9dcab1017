//! What an application gives, laid over what it need not say, and looked at: not every caller has a type checker, and some hand
//! a setting on that is not set.

import { PgstreamError } from "../core/errors.ts";

/** An option that is undefined was not given. */
export const overDefaults = <Defaults extends object, Given extends object>(
  defaults: Defaults,
  given: Given,
): Defaults & Given => {
  const defined = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...defaults, ...(Object.fromEntries(defined) as Given) };
};

/** A timer that is set for longer goes off at once. */
export const most = 2 ** 31 - 1;

const shown = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "object" && value !== null ? "another object" : String(value);
};

const refuse = (name: string, value: unknown, wanted: string): never => {
  const given = typeof value === "function" ? "a function" : shown(value);
  throw new PgstreamError("invalid_config", `option ${name} is ${given}: give ${wanted}`);
};

/**
 * @param least of each option that has to be a whole number, where it is given
 * @throws PgstreamError `invalid_config`
 */
export const checkNumbers = <Options extends object>(
  options: Options,
  least: Partial<Record<keyof Options & string, number>>,
): void => {
  for (const [name, min] of Object.entries<number | undefined>(least)) {
    const value: unknown = Reflect.get(options, name);
    if (value === undefined || min === undefined) continue;
    const isInRange = Number.isInteger(value) && (value as number) >= min && (value as number) <= most;
    if (!isInRange) refuse(name, value, `a whole number from ${min} to ${most}`);
  }
};

/**
 * @param choices of each option that has to be one of several words, where it is given
 * @throws PgstreamError `invalid_config`
 */
export const checkWords = <Options extends object>(
  options: Options,
  choices: Partial<Record<keyof Options & string, readonly string[]>>,
): void => {
  for (const [name, words] of Object.entries<readonly string[] | undefined>(choices)) {
    const value: unknown = Reflect.get(options, name);
    if (value === undefined || words === undefined || words.includes(value as string)) continue;
    refuse(name, value, words.map((word) => JSON.stringify(word)).join(" or "));
  }
};

/**
 * @param forms of each option that has to be there, or to be of one kind where it is
 * @throws PgstreamError `invalid_config`
 */
export const checkForms = (
  options: object,
  forms: Readonly<Record<string, readonly [isIt: (value: unknown) => boolean, wanted: string]>>,
): void => {
  for (const [name, [isIt, wanted]] of Object.entries(forms)) {
    const value: unknown = Reflect.get(options, name);
    if (!isIt(value)) refuse(name, value, wanted);
  }
};
