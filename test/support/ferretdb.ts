//! Builds the FerretDB of ./ferretdb once per machine: the binary is kept outside the tree, named by the module's content.

import { randomBytes } from "node:crypto";
import { mkdir, rename } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

const moduleDir = join(import.meta.dir, "ferretdb");
const buildDeadlineMs = 600_000;

const moduleHash = async (): Promise<string> => {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const name of ["go.mod", "go.sum", "main.go"])
    hasher.update(await Bun.file(join(moduleDir, name)).bytes());
  return hasher.digest("hex").slice(0, 16);
};

// Another user's checkout, or none at all, must not stop the build: hence no version control stamp.
const buildCommand = ["go", "build", "-trimpath", "-buildvcs=false", "-tags", "ferretdb_sqlite"];

const build = async (output: string): Promise<void> => {
  const child = Bun.spawn([...buildCommand, "-o", output, "."], {
    cwd: moduleDir,
    env: { ...process.env, CGO_ENABLED: "0" },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: buildDeadlineMs,
    killSignal: "SIGKILL",
  });
  const [said, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  if (exitCode !== 0) throw new Error(said.trim().split("\n").at(-1) ?? `go build ended with ${exitCode}`);
};

/**
 * The path of the program, built if need be, which takes a minute or two.
 *
 * @throws Error when there is no Go, or the build fails
 */
export const ferretDbProgram = async (say: (line: string) => void): Promise<string> => {
  const folder = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "pgstream");
  const program = join(folder, `ferretdb-${await moduleHash()}`);
  if (await Bun.file(program).exists()) return program;
  if (Bun.which("go") === null) throw new Error("there is no Go to build FerretDB with");
  await mkdir(folder, { recursive: true });
  say("mongo: building FerretDB, once on this machine; takes a minute or two");
  const draft = `${program}.${randomBytes(4).toString("hex")}`;
  await build(draft);
  await rename(draft, program);
  return program;
};
