import { afterEach, describe, expect, test } from "bun:test";

interface Child {
  readonly kill: (signal: NodeJS.Signals) => void;
  readonly exitCode: Promise<number>;
  /** The first log line with this message. */
  readonly line: (message: string) => Promise<Readonly<Record<string, unknown>>>;
  readonly errors: () => Promise<string>;
}

let children: { readonly kill: (signal: NodeJS.Signals) => void; readonly exited: Promise<number> }[] = [];

afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(children.map(async (it) => await it.exited));
  children = [];
});

const start = (
  script: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Child => {
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/${script}`, ...argv], {
    env: { HOST: "127.0.0.1", PORT: "0", LOG_FORMAT: "json", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  children.push(child);
  const seen: Readonly<Record<string, unknown>>[] = [];
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  const line: Child["line"] = async (message) => {
    for (;;) {
      const found = seen.find((it) => it["msg"] === message);
      if (found !== undefined) return found;
      const { done, value } = await reader.read();
      if (done) throw new Error(`ended without the line ${message}: ${JSON.stringify(seen)}`);
      const lines = `${rest}${value}`.split("\n");
      rest = lines.pop() ?? "";
      seen.push(...lines.map((it) => JSON.parse(it) as Readonly<Record<string, unknown>>));
    }
  };
  return {
    kill: (signal) => child.kill(signal),
    exitCode: child.exited,
    line,
    errors: async () => await child.stderr.text(),
  };
};

const fake = (roles: string): Child => start("fake-process.ts", [`--roles=${roles}`]);

const addressOf = async (child: Child): Promise<string> =>
  String((await child.line("the server listens"))["address"]);

describe("the process", () => {
  test("answers over HTTP, drains at SIGTERM and exits with 0", async () => {
    const child = fake("consumer");
    const address = await addressOf(child);
    await child.line("the role runs");
    const courses: unknown = await (await fetch(`${address}courses`)).json();
    expect(courses).toEqual(["algebra"]);
    expect((await fetch(`${address}health/ready`)).status).toBe(200);
    child.kill("SIGTERM");
    await child.line("drained");
    expect(await child.exitCode).toBe(0);
    expect(await child.errors()).toBe("");
  });

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("ends at once at a second signal: %s is %d", async (signal, code) => {
    const child = fake("producer");
    await child.line("the role runs");
    child.kill("SIGTERM");
    await child.line("draining");
    child.kill(signal);
    expect(await child.exitCode).toBe(code);
  });

  test("exits with 1 when its only role fails, and the log says which code", async () => {
    const child = fake("purger");
    expect(await child.line("the role failed")).toMatchObject({ role: "purger", code: "schema_newer" });
    expect(await child.exitCode).toBe(1);
  });

  test.each(["crash", "reject"])("logs what nobody caught and exits with 70: %s", async (path) => {
    const child = fake("consumer");
    const address = await addressOf(child);
    await child.line("the role runs");
    await fetch(`${address}${path}`).catch(() => undefined);
    expect(await child.line("crashed")).toMatchObject({ level: "error" });
    expect(await child.exitCode).toBe(70);
  });

  test("refuses a port that is taken, with exit code 2 and one line", async () => {
    using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const child = start("fake-process.ts", ["--roles=consumer", `--port=${server.port}`]);
    expect(await child.exitCode).toBe(2);
    expect(await child.errors()).toMatch(/^pgstream: PORT: [^\n]+\n$/);
  });
});

describe("pgstream itself", () => {
  const main = "../../../src/main.ts";

  test.each([
    ["an unknown flag", ["--rols=all"], {}],
    ["an unknown role", ["--roles=reader"], {}],
    ["an unknown command", ["consume"], {}],
    ["nothing to run", [], {}],
    ["a wrong value", ["--roles=producer"], { POLL_INTERVAL: "5" }],
    ["no database", ["--roles=producer"], {}],
    ["a secret on the command line", ["postgres://postgres:hush@h/db"], {}],
    ["a wrong secret", ["--roles=producer"], { DATABASE_URL: "postgres://postgres:hush@hush@h/db" }],
  ])("with %s writes exactly one line and exits with 2", async (_case, argv, env) => {
    const child = start(main, argv, env);
    expect(await child.exitCode).toBe(2);
    const errors = await child.errors();
    expect(errors).toMatch(/^pgstream: [^\n]+\n$/);
    expect(errors).not.toContain("hush");
  });

  test("asked for health where nobody answers exits with 1", async () => {
    using free = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const { port } = free;
    await free.stop(true);
    expect(await start(main, ["health", `--port=${port}`]).exitCode).toBe(1);
  });

  test("asked for health believes the answer's status", async () => {
    let status = 503;
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => new Response("", { status }),
    });
    const ask = async (): Promise<number> =>
      await start(main, ["health", `--port=${server.port}`], { HTTP_PROXY: "http://127.0.0.1:9" }).exitCode;
    expect(await ask()).toBe(1);
    status = 200;
    expect(await ask()).toBe(0);
  });
});
