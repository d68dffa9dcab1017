//! What the server said, as far as a run wants to know: its last line, and whether it is past helping.

const entry = / (?:LOG|WARNING|ERROR|FATAL|PANIC): /;
/** After any of these no figure is worth anything, whether the server comes back or not. */
const pastHelping = / PANIC: |No space left on device|was terminated by signal/;

export interface ServerLog {
  readonly add: (line: string) => void;
  /** The last entry, without its details and its statement. */
  readonly last: () => string | null;
  /** The first that it does not get over. */
  readonly fatal: () => string | null;
}

export const makeServerLog = (): ServerLog => {
  let last: string | null = null;
  let fatal: string | null = null;
  return {
    add: (line) => {
      if (entry.test(line)) last = line;
      if (pastHelping.test(line)) fatal ??= line;
    },
    last: () => last,
    fatal: () => fatal,
  };
};
