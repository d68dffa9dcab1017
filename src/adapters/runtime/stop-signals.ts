//! SIGTERM and SIGINT: the first asks for a clean stop, the second ends the process at once.
//!
//! One Ctrl-C may be two SIGINTs: the terminal gives it to the whole process group, and `bun run` passes its own on.

const numberOf = { SIGINT: 2, SIGTERM: 15 } as const;
export type StopSignal = keyof typeof numberOf;

export interface StopHandlers {
  readonly stop: (signal: StopSignal) => void;
  /** 128 and the signal's number, as shells report it. */
  readonly exit: (code: number) => void;
}

/** The part of `process` that is needed here. */
export interface SignalSource {
  readonly on: (event: StopSignal, listener: () => void) => unknown;
}

/** A SIGINT so soon after a SIGINT is the same Ctrl-C. */
const echoMs = 500;

export const onStopSignals = (
  source: SignalSource,
  { stop, exit }: StopHandlers,
  now: () => number = () => performance.now(),
): void => {
  let first: { readonly signal: StopSignal; readonly at: number } | null = null;
  const receive = (signal: StopSignal): void => {
    if (first === null) {
      first = { signal, at: now() };
      stop(signal);
      return;
    }
    const isEcho = signal === "SIGINT" && first.signal === "SIGINT" && now() - first.at < echoMs;
    if (!isEcho) exit(128 + numberOf[signal]);
  };
  source.on("SIGINT", () => receive("SIGINT"));
  source.on("SIGTERM", () => receive("SIGTERM"));
};
