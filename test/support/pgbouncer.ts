//! A real PgBouncer, Debian's, in front of a server of the test's own.

import { chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { serverAccount } from "../../src/adapters/embedded-postgres/account.ts";
import { findFreePort } from "../../src/adapters/embedded-postgres/free-port.ts";
import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { connect } from "./migrator.ts";
import { waitFor } from "./wait-for.ts";

const program = Bun.which("pgbouncer", { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin` });

/** Null when it can be had here, else why not. */
export const whyNoPgBouncer = (): string | null =>
  program === null ? "PgBouncer is not installed: apt-get install pgbouncer" : null;

export interface PgBouncer extends AsyncDisposable {
  /** The same login and database, through it. */
  readonly through: (url: string) => string;
  /** To its console: `pause`, `resume`, `reconnect`. */
  readonly command: (text: string) => Promise<void>;
  /** Resolves when it accepts connections. */
  readonly start: () => Promise<void>;
  readonly kill: () => Promise<void>;
}

// It ends with us: whoever dies closes the pipe that the shell reads from.
const untilToldTo = '"$@" & read -r _; kill -9 $!; wait';

/** @param settings as in pgbouncer.ini, beside or instead of ours */
export const startPgBouncer = async (
  server: PostgresServer,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<PgBouncer> => {
  const folder = await mkdtemp(join(tmpdir(), "pgstream-pgbouncer-"));
  const [configuration, users] = [join(folder, "pgbouncer.ini"), join(folder, "users")];
  const port = await findFreePort();
  const { username, password } = new URL(server.url());
  const all = {
    listen_addr: "127.0.0.1",
    listen_port: port,
    unix_socket_dir: "",
    auth_type: "scram-sha-256",
    auth_file: users,
    // Other logins' passwords it asks the server for.
    auth_user: username,
    admin_users: username,
    ...settings,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name} = ${value}`);
  await writeFile(users, `"${username}" "${password}"\n`);
  await writeFile(
    configuration,
    `[databases]\n* = host=127.0.0.1 port=${server.port}\n[pgbouncer]\n${lines.join("\n")}\n`,
  );
  // It will not run as root.
  const account = await serverAccount(folder);
  if (account !== undefined)
    for (const it of [folder, configuration, users]) await chown(it, account.uid, account.gid);

  const through = (url: string): string => Object.assign(new URL(url), { port: String(port) }).href;
  const command = async (text: string): Promise<void> => {
    await using console = connect(through(server.url("pgbouncer")));
    await console.unsafe(text).simple();
  };
  const spawn = () =>
    Bun.spawn(["sh", "-c", untilToldTo, "sh", program ?? "pgbouncer", "--quiet", configuration], {
      ...account,
      cwd: "/",
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
    });
  let running: ReturnType<typeof spawn> | null = null;
  const start = async (): Promise<void> => {
    running = spawn();
    await waitFor(async () => await command("show version").then(() => true), { what: "PgBouncer" });
  };
  const kill = async (): Promise<void> => {
    await running?.stdin.end();
    await running?.exited;
  };
  await start();
  return {
    through,
    command,
    start,
    kill,
    [Symbol.asyncDispose]: async () => {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
};
