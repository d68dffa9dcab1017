//! Whatever a client says of the host, paths are found; and nobody else answers on the same port.

import { expect, test } from "bun:test";
import { connect } from "node:net";

import { Elysia } from "elysia";

import { documentRoutes } from "../../../src/http/documents.ts";
import { openServer } from "../../../src/http/server.ts";

const store = {
  document: async () => await Promise.resolve({ answered: true }),
  documents: async () => await Promise.resolve({ documents: [], next: null }),
};
const app = new Elysia()
  .get("/health", () => "well")
  .use(documentRoutes({ store, collection: "courses" }))
  .post("/echo", async ({ request }) => await request.text(), { parse: "none" });

/** The first line of the answer, and its body. */
const ask = async (port: number, request: string): Promise<readonly [string, string]> => {
  const socket = connect(port, "127.0.0.1");
  socket.write(request);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const [head = "", body = ""] = Buffer.concat(chunks).toString().split("\r\n\r\n");
  return [head.split("\r\n")[0]?.slice("HTTP/1.1 ".length) ?? "", body];
};

const open = () => {
  const server = openServer({ host: "127.0.0.1", port: 0 }, app.fetch);
  const port = Number(new URL(server.url).port);
  return { port, [Symbol.asyncDispose]: server.close };
};

test.each(["Host: api\r\n", "Host: a\r\n", "Host: api:1337\r\n", "Host: pgstream.internal\r\n"])(
  "with %j",
  async (host) => {
    await using server = open();
    const rest = `HTTP/1.1\r\n${host}Connection: close\r\n`;
    expect(await ask(server.port, `GET /health ${rest}\r\n`)).toEqual(["200 OK", "well"]);
    const [status, page] = await ask(server.port, `GET /courses?limit=5 ${rest}\r\n`);
    expect(status).toBe("200 OK");
    expect(JSON.parse(page)).toEqual({ items: [], next: null });
    expect(await ask(server.port, `POST /echo ${rest}Content-Length: 5\r\n\r\nhello`)).toEqual([
      "200 OK",
      "hello",
    ]);
  },
);

test("with no host at all, as HTTP/1.0 has it", async () => {
  await using server = open();
  expect((await ask(server.port, "GET /health HTTP/1.0\r\n\r\n"))[1]).toBe("well");
  expect((await ask(server.port, "GET /courses?limit=5 HTTP/1.0\r\n\r\n"))[1]).toContain("items");
});

test("a path that is no percent-encoded text is that of no document", async () => {
  await using server = open();
  for (const path of ["/courses/50%", "/courses/%ff"]) {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ code: "not_found" });
  }
  expect(await (await fetch(`http://127.0.0.1:${server.port}/courses/50%25`)).json()).toEqual({
    answered: true,
  });
});

test("a port that another process of ours listens on is taken", async () => {
  await using server = open();
  const again = () => openServer({ host: "127.0.0.1", port: server.port }, app.fetch);
  expect(again).toThrow(expect.objectContaining({ code: "invalid_config" }));
  expect(again).toThrow(`cannot listen on 127.0.0.1 port ${server.port}`);
});
