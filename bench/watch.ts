//! Ends a run that would never end by itself: its server is gone, the disk is full, or nothing has moved for minutes. A
//! publisher or a subscription waits for its server as long as it takes, and a benchmark must not.

import { RunError } from "./context.ts";
import type { ServerLog } from "./server-log.ts";

const lookEveryMs = 200;
/** A session hears of its server's end before the operating system tells us. */
const graceMs = 500;

/** How things stand with a run. */
export interface Standing {
  readonly hasServerEnded: boolean;
  /** What the server said that it does not get over. */
  readonly fatalLine: string | null;
  /** Since a line was said, which every turn and every stretch of a long one does when it ends. */
  readonly quietMs: number;
  readonly quietMsMax: number;
}

/** Why the run cannot go on, null while it can. */
export const obstacleOf = ({ hasServerEnded, fatalLine, quietMs, quietMsMax }: Standing): string | null => {
  if (hasServerEnded) return "the PostgreSQL server has ended";
  if (fatalLine !== null) return "the PostgreSQL server is in trouble";
  if (quietMs > quietMsMax) return `nothing has moved for ${Math.round(quietMs / 1_000)} s`;
  return null;
};

/** Longer than any step takes in which nothing is said, a checkpoint of a large log on a slow disk among them. */
export const quietMsMaxFor = (scale: number, eventsMax: number | null): number =>
  180_000 * Math.max(1, scale, (eventsMax ?? 0) / 20_000_000);

export interface WatchOptions {
  readonly hasServerEnded: () => boolean;
  readonly log: ServerLog;
  readonly quietMs: () => number;
  readonly quietMsMax: number;
}

export interface Watch extends Disposable {
  /** Rejects with a RunError when the run cannot go on; never resolves. */
  readonly failed: Promise<never>;
  /** What went wrong in truth, when this is what somebody ran into meanwhile. */
  readonly explain: (error: unknown) => Promise<unknown>;
}

export const startWatch = ({ hasServerEnded, log, quietMs, quietMsMax }: WatchOptions): Watch => {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {}); // whoever races with it may have ended before
  const problem = (): RunError | null => {
    const obstacle = obstacleOf({
      hasServerEnded: hasServerEnded(),
      fatalLine: log.fatal(),
      quietMs: quietMs(),
      quietMsMax,
    });
    if (obstacle === null) return null;
    return new RunError(`${obstacle}; its log said: ${log.fatal() ?? log.last() ?? "nothing"}`);
  };
  const timer = setInterval(() => {
    const error = problem();
    if (error !== null) failed.reject(error);
  }, lookEveryMs);
  return {
    failed: failed.promise,
    explain: async (error) => {
      if (error instanceof RunError) return error;
      if (problem() === null) await Bun.sleep(graceMs);
      return problem() ?? error;
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
};
