//! When the next round is due.

import type { Clock } from "../ports.ts";

/** Times by the wall clock. */
export interface Schedule {
  /** The first time after now; null when there is none any more. */
  readonly next: () => { readonly at: Date; readonly inMs: number } | null;
}

/** How long after its time, by a clock that cannot be set, a round is run whatever the wall clock says. */
const overdueMs = 1_000;
/** The wall clock may be set forward in the middle of a wait. */
const lookIntervalMs = 30_000;
const sleepMsMin = 10;

/**
 * Resolves when the time that comes next has come, or the signal aborts. The wall clock may be set meanwhile: set
 * forward, the round is due at once; set back, it is due when as much time has passed as was to pass.
 */
export const untilDue = async (schedule: Schedule, clock: Clock, signal: AbortSignal): Promise<void> => {
  // The signal aborts meanwhile, which a type checker cannot know of a property.
  const isAborted = (): boolean => signal.aborted;
  const due = schedule.next();
  const plannedAt = due === null ? Infinity : clock.now() + due.inMs;
  const hasCome = (): boolean => {
    if (due === null) return false;
    if (clock.now() >= plannedAt + overdueMs) return true;
    const next = schedule.next();
    return next === null || next.at > due.at;
  };
  while (!isAborted() && !hasCome()) {
    await clock.sleep(Math.max(sleepMsMin, Math.min(plannedAt - clock.now(), lookIntervalMs)), signal);
  }
};
