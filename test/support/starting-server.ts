//! A PostgreSQL that says at first "the database system is starting up", as one in crash recovery does, and then is one.

import { connect, createServer, type AddressInfo, type Socket } from "node:net";

const errorResponse = (fields: readonly string[]): Buffer => {
  const body = Buffer.from(`${fields.join("\0")}\0\0`);
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const startingUp = { state: "57P03", message: "the database system is starting up" };

export interface StartingServer extends AsyncDisposable {
  readonly port: number;
  readonly refused: () => number;
}

export interface StartingServerOptions {
  readonly port: number;
  readonly refusals: number;
  /** Default: as in crash recovery. */
  readonly refusal?: { readonly state: string; readonly message: string };
}

/** Listens on a free port; the first `refusals` connections are refused, later ones go to `port`. */
export const answerStarting = async ({
  port,
  refusals,
  refusal: { state, message } = startingUp,
}: StartingServerOptions): Promise<StartingServer> => {
  const answer = errorResponse(["SFATAL", "VFATAL", `C${state}`, `M${message}`]);
  let refused = 0;
  const sockets = new Set<Socket>();
  const listener = createServer((client) => {
    sockets.add(client);
    client.on("error", () => undefined);
    if (refused < refusals) {
      refused += 1;
      client.once("data", () => client.end(answer));
      return;
    }
    const upstream = connect({ host: "127.0.0.1", port });
    sockets.add(upstream);
    upstream.on("error", () => client.destroy());
    client.on("close", () => upstream.destroy());
    client.pipe(upstream).pipe(client);
  });
  const listening = Promise.withResolvers<void>();
  listener.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  return {
    port: (listener.address() as AddressInfo).port,
    refused: () => refused,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      const closed = Promise.withResolvers<void>();
      listener.close(() => closed.resolve());
      await closed.promise;
    },
  };
};
