//! TLS to Postgres is verified or refused, never silently plain. To MongoDB it is the driver's own, given the CA.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chown } from "node:fs/promises";
import { join } from "node:path";

import { serverAccount } from "../../src/adapters/embedded-postgres/account.ts";
import type { PostgresServer } from "../../src/adapters/embedded-postgres/server.ts";
import { openClient, type PostgresTarget } from "../../src/adapters/postgres/client.ts";
import { PgstreamError } from "../../src/core/errors.ts";
import { openStore } from "../../src/library/open-store.ts";
import { startOwnServer } from "../support/postgres.ts";
import { makeTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

interface Authority {
  readonly certificate: string;
  readonly sign: (name: string, subject: string, days: number) => Promise<{ cert: string; key: string }>;
}

const openssl = async (folder: string, ...args: readonly string[]): Promise<void> => {
  const child = Bun.spawn(["openssl", ...args], { cwd: folder, stdout: "ignore", stderr: "pipe" });
  if ((await child.exited) !== 0) throw new Error(await new Response(child.stderr).text());
};

const makeAuthority = async (folder: string, name: string): Promise<Authority> => {
  await openssl(
    folder,
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-days",
    "2",
    "-subj",
    `/CN=${name}`,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.crt`,
  );
  return {
    certificate: await Bun.file(join(folder, `${name}.crt`)).text(),
    sign: async (file, subject, days) => {
      await Bun.write(join(folder, `${file}.ext`), `subjectAltName=${subject}`);
      await openssl(
        folder,
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=server",
        "-keyout",
        `${file}.key`,
        "-out",
        `${file}.csr`,
      );
      await openssl(
        folder,
        "x509",
        "-req",
        "-in",
        `${file}.csr`,
        "-CA",
        `${name}.crt`,
        "-CAkey",
        `${name}.key`,
        "-CAcreateserial",
        "-days",
        String(days),
        "-extfile",
        `${file}.ext`,
        "-out",
        `${file}.crt`,
      );
      return { cert: join(folder, `${file}.crt`), key: join(folder, `${file}.key`) };
    },
  };
};

/** Whether the session is encrypted; the error's code when there is none. */
const connect = async (target: PostgresTarget): Promise<boolean | string> => {
  await using client = openClient(target, { name: "tls test", deadlineMs: 10_000 });
  try {
    const [row] = await client.run(
      (sql) => sql<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`,
    );
    return row?.ssl ?? false;
  } catch (error) {
    return error instanceof PgstreamError ? error.code : String(error);
  }
};

describe("TLS to Postgres", () => {
  let folder: TemporaryFolder;
  let ours: Authority;
  let theirs: Authority;
  const servers: PostgresServer[] = [];

  const startWith = async (name: string, subject: string, days: number): Promise<PostgresServer> => {
    const { cert, key } = await ours.sign(name, subject, days);
    const account = await serverAccount(folder.path);
    if (account !== undefined) {
      for (const path of [folder.path, cert, key]) await chown(path, account.uid, account.gid);
    }
    const server = await startOwnServer({ settings: { ssl: "on", ssl_cert_file: cert, ssl_key_file: key } });
    servers.push(server);
    return server;
  };

  beforeAll(async () => {
    folder = await makeTemporaryFolder("pgstream-tls-");
    ours = await makeAuthority(folder.path, "ours");
    theirs = await makeAuthority(folder.path, "theirs");
  }, 60_000);
  afterAll(async () => {
    for (const server of servers) await server.close();
    await folder[Symbol.asyncDispose]();
  }, 60_000);

  test("is verified against the given CA, for the name that was asked for", async () => {
    const { url } = await startWith("good", "IP:127.0.0.1", 2);
    expect(await connect({ url: url(), tls: "verify", ca: ours.certificate })).toBe(true);
    expect(await connect({ url: url(), tls: "verify", ca: theirs.certificate })).toBe("database_unavailable");
    expect(await connect({ url: url(), tls: "verify", ca: null })).toBe("database_unavailable");
    expect(await connect({ url: url(), tls: "no-verify", ca: null })).toBe(true);
    expect(await connect({ url: url(), tls: "off", ca: null })).toBe(false);
  }, 60_000);

  test("refuses a certificate of another name", async () => {
    const { url } = await startWith("othername", "DNS:elsewhere.example", 2);
    expect(await connect({ url: url(), tls: "verify", ca: ours.certificate })).toBe("database_unavailable");
  }, 60_000);

  test("refuses a server without TLS instead of speaking in the clear", async () => {
    const server = await startOwnServer();
    servers.push(server);
    expect(await connect({ url: server.url(), tls: "verify", ca: ours.certificate })).toBe(
      "database_unavailable",
    );
    expect(await connect({ url: server.url(), tls: "no-verify", ca: null })).toBe("database_unavailable");
  }, 60_000);
});

describe("TLS to MongoDB", () => {
  const listenWith = ({ cert, key }: { cert: string; key: string }) => {
    const { promise: spokenTo, resolve } = Promise.withResolvers<true>();
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert: Bun.file(cert), key: Bun.file(key) },
      socket: { data: () => resolve(true) },
    });
    return { server, spokenTo, url: `mongodb://127.0.0.1:${server.port}/consumer` };
  };

  test("speaks to whom the given CA vouches for, and says of another that its certificate is the reason", async () => {
    await using folder = await makeTemporaryFolder("pgstream-tls-");
    const ours = await makeAuthority(folder.path, "ours");
    const theirs = await makeAuthority(folder.path, "theirs");
    const { server, spokenTo, url } = listenWith(await ours.sign("good", "IP:127.0.0.1", 2));
    const refusing = await openStore(url, { ca: theirs.certificate, deadlineMs: 2_000 });
    expect(await refusing.prepare().catch(String)).toContain("certificate");
    await refusing.close();
    const speaking = await openStore(url, { ca: ours.certificate, deadlineMs: 5_000 });
    const failing = speaking.prepare().catch(() => "nobody answers");
    expect(await Promise.race([spokenTo, failing])).toBe(true);
    await speaking.close();
    await failing;
    server.stop(true);
  });
});
