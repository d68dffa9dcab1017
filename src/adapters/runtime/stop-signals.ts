//! SIGTERM and SIGINT: the first asks for a clean stop, the second ends the process at once.

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

export const onStopSignals = (source: SignalSource, { stop, exit }: StopHandlers): void => {
  let isStopping = false;
  const receive = (signal: StopSignal): void => {
    if (isStopping) {
      exit(128 + numberOf[signal]);
      return;
    }
    isStopping = true;
    stop(signal);
  };
  source.on("SIGINT", () => receive("SIGINT"));
  source.on("SIGTERM", () => receive("SIGTERM"));
};
