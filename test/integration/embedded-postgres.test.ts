import { afterEach, describe, expect, test } from "bun:test";
import { chmod, cp, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

import { extractArchive, makeArchive } from "../../src/adapters/embedded-postgres/archive.ts";
import { findBinaries } from "../../src/adapters/embedded-postgres/binaries.ts";
import { findFreePort } from "../../src/adapters/embedded-postgres/free-port.ts";
import { packageNativeDir } from "../../src/adapters/embedded-postgres/package-folder.ts";
import { startOwnServer, whyNoPostgres } from "../support/postgres.ts";
import { withAdmin } from "../support/run-databases.ts";
import { waitFor } from "../support/wait-for.ts";

const deadlineMs = 60_000;
const folders: string[] = [];

/** Open to the server's account, as the folders above a data folder must be. */
const temporaryFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "pgstream-test-"));
  folders.push(folder);
  await chmod(folder, 0o755);
  return folder;
};

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

const codeOf = async (promise: Promise<unknown>): Promise<unknown> =>
  await promise.then(
    () => "nothing was thrown",
    (error: { readonly code?: unknown }) => error.code ?? error,
  );

const nativeDir = async (): Promise<string> => {
  const folder = await packageNativeDir();
  if (folder === null) throw new Error("the package with the PostgreSQL binaries is not installed");
  return folder;
};

describe("a server", () => {
  test(
    "keeps a named data folder for the next server, and takes a temporary one with it",
    async () => {
      const dataDir = join(await temporaryFolder(), "data");
      for (const expected of [1, 2]) {
        await using server = await startOwnServer({ dataDir });
        const visits = await withAdmin(server.url(), async (sql) => {
          await sql`create table if not exists visits (at timestamptz)`;
          await sql`insert into visits values (now())`;
          return (await sql`select * from visits`).length;
        });
        expect(visits).toBe(expected);
      }
      const temporary = await startOwnServer();
      await temporary.close();
      await temporary.close();
      expect(await codeOf(stat(temporary.dataDir))).toBe("ENOENT");
    },
    deadlineMs,
  );

  test(
    "stopped smartly lets its clients finish; stopped fast ends their sessions",
    async () => {
      await using server = await startOwnServer();
      let stopping: Promise<void> | undefined;
      await withAdmin(server.url(), async (sql) => {
        await sql`select 1`;
        stopping = server.stop("smart");
        // New clients are turned away as soon as it has heard; this session goes on.
        const newcomer = async (): Promise<unknown> =>
          await codeOf(withAdmin(server.url(), async (it) => await it`select 1`));
        await waitFor(async () => (await newcomer()) === "57P03", { what: "newcomers to be turned away" });
        expect(await sql`select 2 as two`).toMatchObject([{ two: 2 }]);
      });
      await stopping;
      expect(server.pid()).toBeUndefined();

      await server.start();
      await withAdmin(server.url(), async (sql) => {
        const sleeping = codeOf(sql`select pg_sleep(600)`);
        const isAsleep = async (): Promise<boolean> =>
          await withAdmin(
            server.url(),
            async (it) =>
              (await it`select 1 from pg_stat_activity where wait_event = 'PgSleep'`).length === 1,
          );
        await waitFor(isAsleep, { what: "the session to be busy" });
        await server.stop("fast");
        expect(await sleeping).not.toBe("nothing was thrown");
      });
    },
    deadlineMs,
  );

  test(
    "ends and cleans up when the process that started it is killed",
    async () => {
      const program = `
        import { startOwnServer } from "./test/support/postgres.ts";
        const server = await startOwnServer();
        console.log(JSON.stringify({ url: server.url(), dataDir: server.dataDir }));
        process.kill(process.pid, "SIGKILL");`;
      const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
      const { url, dataDir } = JSON.parse(await child.stdout.text()) as { url: string; dataDir: string };
      await child.exited;
      expect(child.signalCode).toBe("SIGKILL");
      const isGone = async (): Promise<boolean> => (await codeOf(stat(dataDir))) === "ENOENT";
      await waitFor(isGone, { what: "the data folder to go", deadlineMs: 15_000 });
      expect(await codeOf(withAdmin(url, async (sql) => await sql`select 1`))).toBe("ECONNREFUSED");
    },
    deadlineMs,
  );

  test(
    "says so when its port is taken, and leaves nothing behind",
    async () => {
      const port = await findFreePort();
      const squatter = createServer().listen(port, "127.0.0.1");
      const before = await readdir(tmpdir());
      expect(await codeOf(startOwnServer({ port }))).toBe("database_unavailable");
      const left = (await readdir(tmpdir())).filter((name) => !before.includes(name));
      expect(left.filter((name) => name.startsWith("pgstream-postgres-"))).toEqual([]);
      squatter.close();
    },
    deadlineMs,
  );

  test.skipIf(whyNoPostgres(15) !== null)(
    "refuses a data folder of another major version and leaves it as it was",
    async () => {
      const dataDir = join(await temporaryFolder(), "data");
      await (await startOwnServer({ version: 15, dataDir })).close();
      expect(await codeOf(startOwnServer({ version: 18, dataDir }))).toBe("invalid_config");
      await (await startOwnServer({ version: 15, dataDir })).close();
    },
    deadlineMs,
  );

  // Only root lends an account to the server; an ordinary user runs it as itself.
  test.skipIf(userInfo().uid !== 0)(
    "started by root runs as somebody else, from a copy when its binaries lie where that one cannot go",
    async () => {
      const closed = await temporaryFolder();
      const cacheDir = await temporaryFolder();
      await cp(await nativeDir(), join(closed, "native"), { recursive: true, verbatimSymlinks: true });
      await chmod(closed, 0o700);
      const binaries = await findBinaries({ binDir: join(closed, "native", "bin") });
      await using server = await startOwnServer({ binaries, cacheDir });
      expect((await stat(server.dataDir)).uid).toBeGreaterThan(0);
      expect(await readdir(cacheDir)).toHaveLength(1);
    },
    deadlineMs,
  );
});

test(
  "the archive unpacks once, whole, whoever comes first",
  async () => {
    const folder = await temporaryFolder();
    const archiveFile = join(folder, "postgres.tar.gz");
    const { key } = await makeArchive(await nativeDir(), archiveFile);
    const cacheDir = join(folder, "cache");
    const unpack = async (): Promise<string> => await extractArchive(archiveFile, { cacheDir, key });
    const [first, second] = await Promise.all([unpack(), unpack()]);
    expect(second).toBe(first);
    expect(await readdir(cacheDir)).toEqual([key]);
    expect((await findBinaries({ binDir: join(first, "bin") })).version).toStartWith("18.");
    await rm(archiveFile);
    expect(await unpack()).toBe(first);
  },
  deadlineMs,
);

test("an archive's key names the content: the same for the same, another for another", async () => {
  const folder = await temporaryFolder();
  const content = join(folder, "content", "bin");
  const keyNow = async (): Promise<string> =>
    (await makeArchive(join(folder, "content"), join(folder, "archive.tar.gz"))).key;
  await Bun.write(join(content, "postgres"), "18.4");
  const key = await keyNow();
  expect(await keyNow()).toBe(key);
  await Bun.write(join(content, "postgres"), "18.5");
  expect(await keyNow()).not.toBe(key);
});
