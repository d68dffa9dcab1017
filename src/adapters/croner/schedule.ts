//! Times by a cron pattern, in UTC: implements Schedule.
//!
//! croner only computes here. Its own timers fall silent when the wall clock is set back; whoever waits asks again and
//! again what is due, and does one thing after the other.

import { Cron } from "croner";

import { messageOf, PgstreamError } from "../../core/errors.ts";
import type { Schedule } from "../../core/purge/purge-due.ts";

const parse = (pattern: string, setting: string): Cron => {
  try {
    return new Cron(pattern, { timezone: "UTC", paused: true });
  } catch (cause) {
    throw new PgstreamError(
      "invalid_config",
      `${setting}: ${JSON.stringify(pattern)} is not a cron pattern (${messageOf(cause)}): write one such as "*/5 * * * *"`,
      { cause },
    );
  }
};

/**
 * @param setting where the pattern came from, for the error
 * @throws PgstreamError `invalid_config` for what is no pattern, or one that never comes true
 */
export const openSchedule = (pattern: string, setting: string): Schedule => {
  const cron = parse(pattern, setting);
  const next = (): ReturnType<Schedule["next"]> => {
    const at = cron.nextRun();
    return at === null ? null : { at, inMs: at.getTime() - Date.now() };
  };
  if (next() === null) {
    throw new PgstreamError(
      "invalid_config",
      `${setting}: ${JSON.stringify(pattern)} never comes true: write a pattern such as "*/5 * * * *"`,
    );
  }
  return { next };
};
