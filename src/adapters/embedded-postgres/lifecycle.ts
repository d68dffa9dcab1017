//! Bringing a postmaster up and taking it down: every wait has a deadline, every failure says what the log said.

import { PgstreamError } from "../../core/errors.ts";
import { findFreePort } from "./free-port.ts";
import { type Postmaster, type PostmasterOptions, spawnPostmaster } from "./postmaster.ts";

/** As pg_ctl has them: wait for the clients to leave; end their sessions; end without a checkpoint, as a crash would. */
export type StopMode = "smart" | "fast" | "immediate";

export interface BringUpOptions extends PostmasterOptions {
  readonly port: number;
  /**
   * What to do when the port is taken: a first start may move to another or must give up; a restart waits, since what
   * holds it is most likely what is left of the run before.
   */
  readonly whenPortTaken: "move" | "give-up" | "wait";
  /** Called with each process id as soon as there is one, before it is ready. */
  readonly onSpawn: (pid: number) => void;
}

const startDeadlineMs = 60_000;
const stopDeadlineMs = 30_000;
const pollIntervalMs = 15;
const retryDelayMs = 100;

const stopSignals = { smart: "SIGTERM", fast: "SIGINT", immediate: "SIGQUIT" } as const;

const becomesReady = async (postmaster: Postmaster, deadlineAtMs: number): Promise<boolean> => {
  while (!postmaster.hasExited() && performance.now() < deadlineAtMs) {
    if (await postmaster.isReady()) return true;
    await Bun.sleep(pollIntervalMs);
  }
  return false;
};

const endsWithin = async (postmaster: Postmaster, ms: number): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), ms);
  const ended = await Promise.race([postmaster.exited.then(() => true), promise]);
  // Left running, it would hold up the end of our process.
  clearTimeout(timer);
  return ended;
};

/** Ends it and waits for that. A mode that does not get there in 30 s is followed by the next harder one. */
export const takeDown = async (postmaster: Postmaster, mode: StopMode): Promise<void> => {
  for (const signal of [stopSignals[mode], "SIGINT", "SIGQUIT"] as const) {
    postmaster.signal(signal);
    if (await endsWithin(postmaster, stopDeadlineMs)) return;
  }
  postmaster.signal("SIGKILL");
  await postmaster.exited;
};

const lastWords = (postmaster: Postmaster): string => postmaster.logTail().slice(-8).join(" | ");

/**
 * Starts a postmaster and waits until it accepts connections.
 *
 * @throws PgstreamError database_unavailable when it does not within 60 s, or ends for a reason that waiting cannot mend
 */
export const bringUp = async (
  options: BringUpOptions,
): Promise<{ readonly postmaster: Postmaster; readonly port: number }> => {
  const deadlineAtMs = performance.now() + startDeadlineMs;
  for (let port = options.port; ;) {
    const settings = { ...options.settings, port };
    const postmaster = spawnPostmaster({ ...options, settings });
    options.onSpawn(postmaster.pid);
    if (await becomesReady(postmaster, deadlineAtMs)) return { postmaster, port };
    await takeDown(postmaster, "immediate");
    const said = lastWords(postmaster);
    const isPortTaken = said.includes("could not bind");
    // After SIGKILL the sessions of the run before go on for a moment, and hold its shared memory.
    const isLeftover = said.includes("pre-existing shared memory block");
    const mayRetry = isLeftover || (isPortTaken && options.whenPortTaken !== "give-up");
    if (!mayRetry || performance.now() > deadlineAtMs) {
      throw new PgstreamError("database_unavailable", `PostgreSQL did not start on port ${port}: ${said}`);
    }
    if (isPortTaken && options.whenPortTaken === "move") port = await findFreePort();
    else await Bun.sleep(retryDelayMs);
  }
};
