//! A service of docker-compose.yml, where a Docker engine answers. Each failure is returned as its reason, never thrown.

import { join } from "node:path";

const root = join(import.meta.dir, "..", "..");
const engineDeadlineMs = 5_000;
const startDeadlineMs = 180_000;

interface Run {
  readonly exitCode: number;
  readonly out: string;
  readonly lastError: string;
}

const docker = async (args: readonly string[], deadlineMs: number): Promise<Run> => {
  try {
    const child = Bun.spawn(["docker", ...args], {
      cwd: root,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: deadlineMs,
      killSignal: "SIGKILL",
    });
    const [out, err, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { exitCode, out: out.trim(), lastError: err.trim().split("\n").at(-1) ?? "" };
  } catch (error) {
    return { exitCode: -1, out: "", lastError: error instanceof Error ? error.message : String(error) };
  }
};

export type ComposeResult =
  | { readonly hostPort: string; readonly close: () => Promise<void> }
  | { readonly reason: string };

const publishedPort = async (service: string, port: number): Promise<string | null> => {
  const { exitCode, out } = await docker(["compose", "port", service, String(port)], engineDeadlineMs);
  return exitCode === 0 && out !== "" ? out.replace("0.0.0.0", "127.0.0.1") : null;
};

/** Starts `service` if it does not run already; `close` stops it only if we started it. Its volume stays as it was. */
export const composeService = async (service: string, port: number): Promise<ComposeResult> => {
  if (!(await Bun.file(join(root, "docker-compose.yml")).exists()))
    return { reason: "there is no docker-compose.yml" };
  const engine = await docker(["info", "--format", "{{.ServerVersion}}"], engineDeadlineMs);
  if (engine.exitCode !== 0) return { reason: `no Docker engine answers (${engine.lastError})` };
  const running = await publishedPort(service, port);
  if (running !== null) return { hostPort: running, close: async () => {} };
  const up = await docker(["compose", "up", "--detach", "--wait", service], startDeadlineMs);
  if (up.exitCode !== 0) return { reason: `docker compose up ${service} failed (${up.lastError})` };
  const started = await publishedPort(service, port);
  if (started === null) return { reason: `docker compose publishes no port of ${service}` };
  return {
    hostPort: started,
    close: async () => void (await docker(["compose", "stop", service], startDeadlineMs)),
  };
};
