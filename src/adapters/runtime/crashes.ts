//! Errors that nobody caught. The state of the process is unknown then, so it ends: a supervisor starts a fresh one.

/** `EX_SOFTWARE` of sysexits.h. */
export const crashExitCode = 70;

export interface CrashSource {
  readonly on: (
    event: "uncaughtException" | "unhandledRejection",
    listener: (error: unknown) => void,
  ) => unknown;
}

/** @param crash must not return to the event loop with the process alive for long */
export const onCrashes = (source: CrashSource, crash: (error: unknown) => void): void => {
  source.on("uncaughtException", crash);
  source.on("unhandledRejection", crash);
};
