//! Standard output: lines that stay, and one that is shown in place on a terminal.

export interface Output {
  readonly print: (line: string) => void;
  /** Replaces the line shown before, if nothing was printed since and a person is looking; else prints it. */
  readonly show: (line: string) => void;
}

const upAndClear = "\u001B[1A\u001B[2K";

/** @param write takes text in order */
export const makeOutput = (write: (text: string) => void, isTerminal: boolean): Output => {
  let isShown = false;
  return {
    print: (line) => {
      isShown = false;
      write(`${line}\n`);
    },
    show: (line) => {
      write(`${isShown && isTerminal ? upAndClear : ""}${line}\n`);
      isShown = true;
    },
  };
};

/** Whoever stops reading, as `head` does, has what they wanted: no failure of ours. */
export const toWhoeverReads = async (write: () => unknown): Promise<void> => {
  try {
    await write();
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EPIPE")) throw error;
  }
};

/** For a role, which has nothing else to say there. */
export const printLines = async (lines: readonly string[]): Promise<void> =>
  await toWhoeverReads(async () => await Bun.write(Bun.stdout, `${lines.join("\n")}\n`));
