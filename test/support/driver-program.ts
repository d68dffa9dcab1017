//! A program: `driver-program.ts <folder of the driver> <database url> <case>` brings the driver to a bad moment and prints `well`,
//! or what is wrong with it. A statement that is not settled in time is `wedged`.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";

import type postgres from "postgres";

const deadlineMs = 2_000;

const [driver = "", url = "", which = ""] = process.argv.slice(2);
const { default: open } = (await import(join(driver, "src", "index.js"))) as { default: typeof postgres };

const sockets: Socket[] = [];
const dial = async (): Promise<Socket> => {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, "connect");
  sockets.push(socket);
  return socket;
};
const options = { max: 1, backoff: false as const, fetch_types: false };
// `socket` is an option of the driver that its types leave out.
const sql = open(url, { ...options, socket: dial } as postgres.Options<Record<string, never>>);

const hangUp = async (): Promise<string> => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.resume().end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return `postgres://nobody@127.0.0.1:${port}/nothing`;
};

const nobodysUrl = async (): Promise<string> => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `postgres://nobody@127.0.0.1:${port}/nothing`;
};

const listening = async (onSocket: (socket: Socket) => void): Promise<string> => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
};

/** The server, by way of somebody who resets the first connection in the middle of an answer. */
const cutting = async (): Promise<string> => {
  let isCut = false;
  return await listening((from) => {
    const { hostname, port } = new URL(url);
    const to = connect({ host: hostname, port: Number(port) });
    to.on("error", () => {});
    from.pipe(to);
    to.on("data", (chunk: Buffer) => {
      from.write(chunk);
      if (isCut || !chunk.includes("marked")) return;
      isCut = true;
      from.resetAndDestroy();
      to.destroy();
    });
  });
};

const urlOf = (...hosts: readonly string[]): string => url.replace(new URL(url).host, hosts.join(","));

/** Bytes copied from buffer to buffer from now on. */
const countCopied = (): (() => number) => {
  let copied = 0;
  const count = (owner: object, method: string): void => {
    const copy = Reflect.get(owner, method) as (...args: unknown[]) => Buffer | number;
    Reflect.set(owner, method, function (this: unknown, ...args: unknown[]) {
      const result = copy.apply(this, args);
      copied += typeof result === "number" ? result : result.length;
      return result;
    });
  };
  count(Buffer, "concat");
  count(Buffer, "from");
  count(Object.getPrototypeOf(Buffer.alloc(0)) as object, "copy");
  return () => copied;
};

const cases: Readonly<Record<string, () => Promise<string>>> = {
  // The statement waits for the end of this turn to be written; the socket is gone before that.
  "lost while a write is scheduled": async () => {
    await sql`select 1`;
    const lost = sql`select 2`.execute();
    sockets.at(-1)?.destroy();
    await lost.catch(() => {});
    await sql`select 3`;
    return "well";
  },
  "refused by a peer that accepts and hangs up": async () => {
    const refused = open(await hangUp(), options);
    return await refused`select 1`.then(
      () => "answered by nobody",
      () => "well",
    );
  },
  "ended while a second statement waits for it": async () => {
    const first = sql`select 1`.execute();
    const second = sql`select 2`.execute().then(
      () => "left open",
      () => "well",
    );
    const ended = sql.end({ timeout: 5 });
    await first;
    await ended;
    return await second;
  },
  "ended while it is refused": async () => {
    const refused = open(await nobodysUrl(), options);
    const failed = refused`select 1`.then(
      () => "answered by nobody",
      () => "well",
    );
    await refused.end({ timeout: 60 });
    return await failed;
  },
  // Accepted, and then left without a word by either side.
  "ended while it is opened": async () => {
    const closed = Promise.withResolvers<string>();
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.resume().on("close", () => closed.resolve("well"));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const opening = open(`postgres://nobody@127.0.0.1:${port}/nothing`, options);
    opening`select 1`.catch(() => {});
    await Promise.resolve();
    await opening.end({ timeout: 0 });
    return await closed.promise;
  },
  "the first of several hosts, and lost in the middle of its first answer": async () => {
    const host = await cutting();
    const several = open(urlOf(host, host), options);
    const rows = 20_000;
    const cut = several`select 'marked' || repeat('x', 1000) from generate_series(1, ${rows}::integer)`.then(
      (answer) => (answer.length === rows ? "not cut" : "answered in part"),
      () => "well",
    );
    // Behind it, so that the driver connects again.
    await several`select 1`.catch(() => {});
    return await cut;
  },
  "to the first of several hosts, which says nothing,": async () => {
    const mute = await listening(() => {});
    const several = open(urlOf(mute, new URL(url).host), { ...options, connect_timeout: 1 });
    return await several`select 1`.then(
      () => "well",
      () => "given up",
    );
  },
  "refused by all of several hosts": async () => {
    const { host } = new URL(await nobodysUrl());
    return await open(urlOf(host, host), options)`select 1`.then(
      () => "answered by nobody",
      () => "well",
    );
  },
  "failed in the middle of its rows": async () => {
    await sql`select 1 / (3 - n) from generate_series(1, 5) n`.catch(() => {});
    const rows = await sql`select 4 as n`;
    return rows.length === 1 && rows[0]?.["n"] === 4 ? "well" : `answered ${rows.length} rows`;
  },
  "sent a long reply": async () => {
    const copied = countCopied();
    const rows = 40_000;
    const width = 300;
    await sql`select repeat('x', ${width}::integer) from generate_series(1, ${rows}::integer)`;
    return copied() < (rows * width) / 10 ? "well" : "copied over";
  },
  "given a long value": async () => {
    const long = "x".repeat(1_000_000);
    const lengthOf = async () => await sql`select length(${long}::text), ${"y".repeat(10_000)}::text`;
    await lengthOf(); // planned from the second time on
    const copied = countCopied();
    await lengthOf();
    return copied() < long.length / 10 ? "well" : "copied over";
  },
};

setTimeout(() => {
  console.log("wedged");
  process.exit(0);
}, deadlineMs);
console.log(await cases[which]?.());
process.exit(0);
