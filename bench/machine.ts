//! Where the figures come from: the machine and the versions of everything.

import os from "node:os";

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
}

export const readMachineFacts = (): Machine => ({
  cpu: os.cpus()[0]?.model.trim() ?? "unknown",
  cores: os.availableParallelism(),
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  os: `${os.type()} ${os.release()} ${os.arch()}`,
});

const git = (...args: readonly string[]): string | null => {
  try {
    const { exitCode, stdout } = Bun.spawnSync(["git", ...args], { cwd: import.meta.dir, stderr: "ignore" });
    return exitCode === 0 ? stdout.toString().trim() : null;
  } catch {
    return null; // no git here
  }
};

/** e.g. `64f0b9d`, with a `+` when files differ from the commit; null where there is no git. */
export const readCommit = (): string | null => {
  const commit = git("rev-parse", "--short", "HEAD");
  if (commit === null) return null;
  return (git("status", "--porcelain", "--untracked-files=no") ?? "") === "" ? commit : `${commit}+`;
};
