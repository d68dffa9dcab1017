import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, createServer, type Socket } from "node:net";

import { startTcpProxy, type TcpProxy } from "../../support/tcp-proxy.ts";
import { waitFor } from "../../support/wait-for.ts";

const echo = createServer((socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});
let port = 0;

beforeAll(async () => {
  await new Promise<void>((resolve) => void echo.listen(0, "127.0.0.1", () => resolve()));
  const address = echo.address();
  if (address !== null && typeof address === "object") ({ port } = address);
});
afterAll(() => void echo.close());

interface Client {
  readonly socket: Socket;
  readonly received: () => string;
  /** The code of the error it ended with, "closed" for an end without one, null while open. */
  readonly ended: () => string | null;
}

const dial = (proxy: TcpProxy): Client => {
  const socket = connect({ host: "127.0.0.1", port: proxy.port });
  let received = "";
  let ended: string | null = null;
  socket.on("data", (chunk) => (received += chunk.toString()));
  socket.on("error", (error: Error & { code?: string }) => (ended = error.code ?? error.message));
  socket.on("close", () => (ended ??= "closed"));
  return { socket, received: () => received, ended: () => ended };
};

const says = async (client: Client, text: string): Promise<void> => {
  client.socket.write(text);
  await waitFor(() => client.received().endsWith(text), { what: `the echo of ${text}`, deadlineMs: 2_000 });
};

test("it passes both ways and counts connections", async () => {
  await using proxy = await startTcpProxy({ port });
  const client = dial(proxy);
  await says(client, "a");
  expect([proxy.openConnections(), proxy.acceptedConnections()]).toEqual([1, 1]);
  expect(proxy.through("postgres://u:p%40@127.0.0.1:5432/db?x=1")).toBe(
    `postgres://u:p%40@127.0.0.1:${proxy.port}/db?x=1`,
  );
  client.socket.end();
  await waitFor(() => proxy.openConnections() === 0, { what: "the connection to end" });
});

test("a megabyte passes whole, in spite of back-pressure", async () => {
  await using proxy = await startTcpProxy({ port });
  const client = dial(proxy);
  client.socket.write("x".repeat(1_000_000));
  await waitFor(() => client.received().length === 1_000_000, { what: "all of it" });
  client.socket.destroy();
});

test("reset breaks what is open and welcomes what is new", async () => {
  await using proxy = await startTcpProxy({ port });
  const old = dial(proxy);
  await says(old, "a");
  proxy.reset();
  expect(await waitFor(old.ended, { what: "the reset" })).toBe("ECONNRESET");
  const fresh = dial(proxy);
  await says(fresh, "b");
  fresh.socket.destroy();
});

test("cut refuses until healed", async () => {
  await using proxy = await startTcpProxy({ port });
  proxy.cut();
  const refused = dial(proxy);
  await waitFor(refused.ended, { what: "the refusal" });
  expect(proxy.acceptedConnections()).toBe(0);
  proxy.heal();
  const fresh = dial(proxy);
  await says(fresh, "b");
  fresh.socket.destroy();
});

test("silence keeps connections open, accepts new ones, and delivers on healing what was held", async () => {
  await using proxy = await startTcpProxy({ port });
  const old = dial(proxy);
  await says(old, "a");
  proxy.goSilent();
  old.socket.write("b");
  const fresh = dial(proxy);
  fresh.socket.write("c");
  await waitFor(() => proxy.acceptedConnections() === 2, { what: "the second connection" });
  // A third connection through a healthy proxy makes a round trip meanwhile: long enough for b and c to have come, had they been passed.
  await using other = await startTcpProxy({ port });
  const witness = dial(other);
  await says(witness, "w");
  expect([old.received(), fresh.received(), old.ended(), fresh.ended()]).toEqual(["a", "", null, null]);
  proxy.heal();
  await waitFor(() => old.received() === "ab" && fresh.received() === "c", { what: "what was held" });
  for (const { socket } of [old, fresh, witness]) socket.destroy();
});

test("a chunk can be dropped with its connection: done by the server, the answer never came", async () => {
  const seen: string[] = [];
  await using proxy = await startTcpProxy({
    port,
    onChunk: (chunk, direction) => {
      seen.push(`${direction} ${chunk.toString()}`);
      return direction === "to-client" && chunk.includes("COMMIT") ? "reset" : "pass";
    },
  });
  const client = dial(proxy);
  await says(client, "a");
  client.socket.write("COMMIT");
  expect(await waitFor(client.ended, { what: "the reset" })).toBe("ECONNRESET");
  expect(client.received()).toBe("a");
  expect(seen.at(-1)).toBe("to-client COMMIT");
});
