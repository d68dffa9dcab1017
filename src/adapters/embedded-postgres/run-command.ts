//! Runs one short command to its end. Its environment is ours alone: nothing like PGDATA or PGPORT leaks in.

import { PgstreamError } from "../../core/errors.ts";

/** The account a child process runs as; undefined means "as we do". */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

export interface CommandResult {
  readonly exitCode: number;
  /** What it wrote on both streams, trimmed. */
  readonly output: string;
}

/** LC_ALL=C keeps messages in English and keeps macOS from starting threads inside the postmaster. */
export const childEnvironment: Readonly<Record<string, string>> = {
  LC_ALL: "C",
  PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
  TZ: "UTC",
};

/** Never rejects for a command that fails or cannot be started: that is exit code -1 with the reason. */
export const runCommand = async (
  command: readonly string[],
  options: { readonly account: Account | undefined; readonly deadlineMs: number },
): Promise<CommandResult> => {
  try {
    // The current folder may be closed to the other account, and then even `pwd` fails.
    const child = Bun.spawn([...command], {
      ...options.account,
      cwd: "/",
      env: childEnvironment,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: options.deadlineMs,
      killSignal: "SIGKILL",
    });
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { exitCode: child.exitCode ?? -1, output: `${out}\n${err}`.trim() };
  } catch (error) {
    return { exitCode: -1, output: String(error) };
  }
};

/** As {@link runCommand}, but a failure is thrown. @throws PgstreamError database_unavailable */
export const mustRunCommand = async (
  command: readonly string[],
  options: { readonly account: Account | undefined; readonly deadlineMs: number },
): Promise<string> => {
  const { exitCode, output } = await runCommand(command, options);
  if (exitCode === 0) return output;
  const tail = output.split("\n").slice(-5).join(" | ");
  throw new PgstreamError("database_unavailable", `${command[0]} ended with code ${exitCode}: ${tail}`);
};
