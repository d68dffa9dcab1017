//! Reads the summary that `bun test` ends with.

export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const lastCount = (text: string, word: string): number => {
  const counts = [...text.matchAll(new RegExp(`^\\s*(\\d+) ${word}$`, "gm"))];
  return Number(counts.at(-1)?.[1] ?? 0);
};

/** All zero for a run that died before its summary. */
export const readCounts = (output: string): TestCounts => {
  const text = Bun.stripANSI(output).replaceAll("\r", "");
  return {
    passed: lastCount(text, "pass"),
    failed: lastCount(text, "fail"),
    skipped: lastCount(text, "skip"),
  };
};
