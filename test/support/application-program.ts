//! An application as a process of its own: what it says, and how it ends.

export interface ProgramEnd {
  readonly code: number;
  readonly errors: string;
}

const deadlineMs = 20_000;

/** Runs the text of a program, in the root of the project, to its end. `database` is its `process.argv[1]`. */
export const runProgram = async (program: string, database: string): Promise<ProgramEnd> => {
  const child = Bun.spawn([process.execPath, "-e", program, database], {
    cwd: `${import.meta.dir}/../..`,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: deadlineMs,
  });
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  return { code, errors };
};
