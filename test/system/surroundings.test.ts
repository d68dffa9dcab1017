//! The binary in surroundings that nobody prepared for it: a hostile folder, one that is gone, output that nobody reads.

import { expect, test } from "bun:test";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { makeTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";
import { waitFor } from "../support/wait-for.ts";
import { pgstreamBinary } from "./support/binary.ts";

const timeoutMs = 60_000;

/** Nothing else is in its environment: no HOME, no PATH. Nobody answers there, so it waits. */
const bare = { DATABASE_URL: "postgres://nobody@127.0.0.1:1/nowhere", HOST: "127.0.0.1", LOG_FORMAT: "json" };

const freePort = async (): Promise<number> => {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = server;
  await server.stop(true);
  return port ?? 0;
};

const untilItAnswers = async (port: number): Promise<void> => {
  await waitFor(async () => (await fetch(`http://127.0.0.1:${port}/health/live`)).ok, {
    what: "an answer over HTTP",
  });
};

/** Whatever would be run here writes the file `ran`. */
const fillWithTraps = async ({ path }: TemporaryFolder): Promise<string> => {
  const marker = join(path, "ran");
  const trap = `require("node:fs").writeFileSync(${JSON.stringify(marker)}, "ran");`;
  await Bun.write(join(path, "evil.cjs"), trap);
  await Bun.write(join(path, "bunfig.toml"), 'preload = ["./evil.cjs"]\n[run]\npreload = ["./evil.cjs"]\n');
  await Bun.write(join(path, ".env"), "LOG_LEVEL=nonsense\nROLES=nonsense\n");
  await Bun.write(
    join(path, "tsconfig.json"),
    '{"compilerOptions": {"baseUrl": ".", "paths": {"*": ["./evil.cjs"]}}}',
  );
  await Bun.write(join(path, "package.json"), '{"imports": {"#*": "./evil.cjs"}}');
  for (const name of ["postgres", "elysia", "pino", "croner", "mongodb"]) {
    const folder = join(path, "node_modules", name);
    await mkdir(folder, { recursive: true });
    await Bun.write(join(folder, "package.json"), `{"name": "${name}", "main": "index.js"}`);
    await Bun.write(join(folder, "index.js"), trap);
  }
  return marker;
};

test(
  "what lies in the folder it is started in is not run",
  async () => {
    await using folder = await makeTemporaryFolder("pgstream-hostile-");
    const marker = await fillWithTraps(folder);
    // The traps are live: somebody who does read the folder runs into them.
    const victim = Bun.spawnSync([process.execPath, "-e", "1"], { cwd: folder.path, env: {} });
    expect(victim.exitCode).toBe(0);
    expect(await Bun.file(marker).exists()).toBeTrue();
    await rm(marker);

    const port = await freePort();
    const child = Bun.spawn([await pgstreamBinary(), "--roles=producer,consumer,purger", `--port=${port}`], {
      cwd: folder.path,
      env: bare,
      stdio: ["ignore", "ignore", "pipe"],
    });
    try {
      await untilItAnswers(port);
      child.kill("SIGTERM");
      expect(await child.exited).toBe(0);
      expect(await child.stderr.text()).toBe("");
      expect(await Bun.file(marker).exists()).toBeFalse();
    } finally {
      child.kill("SIGKILL");
    }
  },
  timeoutMs,
);

test(
  "in a folder that was deleted it ends at once and says so",
  async () => {
    await using folder = await makeTemporaryFolder("pgstream-gone-");
    const gone = join(folder.path, "gone");
    await mkdir(gone);
    const child = Bun.spawn(
      ["/bin/sh", "-c", 'rmdir "$2" && exec "$1" --roles=producer', "sh", await pgstreamBinary(), gone],
      { cwd: gone, env: bare, stdio: ["ignore", "pipe", "pipe"], timeout: 10_000, killSignal: "SIGKILL" },
    );
    expect(await child.exited).toBe(1);
    expect(await child.stderr.text()).toMatch(/^error: [^\n]*directory was deleted[^\n]*\n$/);
  },
  timeoutMs,
);

test.each([
  ["closed its output", 'exec "$1" --roles=producer "--port=$2" >&-'],
  ["stopped reading its log", 'exec "$1" --roles=producer "--port=$2"'],
  ["gave it a log on a full disk", 'exec "$1" --roles=producer "--port=$2" >/dev/full'],
])(
  "whoever started it %s: it works on, and stops as asked",
  async (_case, script) => {
    const port = await freePort();
    const child = Bun.spawn(["/bin/sh", "-c", script, "sh", await pgstreamBinary(), String(port)], {
      env: bare,
      stdio: ["ignore", "pipe", "pipe"],
    });
    try {
      await child.stdout.cancel();
      await untilItAnswers(port);
      child.kill("SIGTERM"); // which it logs
      expect(await child.exited).toBe(0);
      expect(await child.stderr.text()).toBe("");
    } finally {
      child.kill("SIGKILL");
    }
  },
  timeoutMs,
);

test(
  "says its version, and the commit it was made of where there is one",
  async () => {
    const child = Bun.spawn([await pgstreamBinary(), "--version"], {
      env: bare,
      stdio: ["ignore", "pipe", "pipe"],
    });
    expect(await child.stdout.text()).toMatch(/^\d+\.\d+\.\d+(?:\+[0-9a-f]{12}(?:-dirty)?)?\n$/);
    expect(await child.exited).toBe(0);
  },
  timeoutMs,
);

test("a place for temporary folders that is none is told in one line", async () => {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "..", "..", "src", "main.ts"), "demo"], {
    env: { ...bare, TMPDIR: "/nowhere/at/all" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  expect(await child.stderr.text()).toMatch(
    /^pgstream: TMPDIR: no folder can be made in \/nowhere\/at\/all: [^\n]*\n$/,
  );
  expect(await child.exited).toBe(2);
});
