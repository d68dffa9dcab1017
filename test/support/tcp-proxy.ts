//! A network that can be broken, in user space: a TCP proxy before Postgres or Mongo that passes, resets, refuses or goes
//! silent on command.

import { connect, createServer, type Server, type Socket } from "node:net";

export type Direction = "to-server" | "to-client";

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** The same URL, by way of this proxy. */
  readonly through: (url: string) => string;
  /** Open now. */
  readonly openConnections: () => number;
  /** Accepted since the start, refused ones not counted. */
  readonly acceptedConnections: () => number;
  /** Resets every connection; new ones are welcome. */
  readonly reset: () => void;
  /** Resets every connection, and each new one at once, until `heal`. */
  readonly cut: () => void;
  /**
   * Half-open: connections stay and new ones are accepted, but nothing comes through, not even an end, until `heal`. What
   * was sent meanwhile is delivered then, as TCP would.
   */
  readonly goSilent: () => void;
  /** Back to passing. */
  readonly heal: () => void;
  readonly close: () => Promise<void>;
}

export interface TcpProxyOptions {
  readonly host?: string;
  readonly port: number;
  /**
   * Sees each chunk before it is passed on. `reset` drops it and resets its connection: "the server has done it, and the
   * answer never came". `silence` makes the whole proxy go silent, this chunk being held.
   */
  readonly onChunk?: (chunk: Buffer, direction: Direction) => "pass" | "reset" | "silence";
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

const listen = async (server: Server): Promise<number> => {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  return address.port;
};

const resetPair = ({ client, server }: Pair): void => {
  client.resetAndDestroy();
  server.resetAndDestroy();
};

export const startTcpProxy = async (options: TcpProxyOptions): Promise<TcpProxy> => {
  const pairs = new Set<Pair>();
  let mode: "pass" | "cut" | "silent" = "pass";
  let accepted = 0;

  const pauseAll = (): void => {
    mode = "silent";
    for (const { client, server } of pairs) for (const socket of [client, server]) socket.pause();
  };
  const forward = (pair: Pair, from: Socket, to: Socket): void => {
    const direction = from === pair.client ? "to-server" : "to-client";
    from.on("data", (chunk: Buffer) => {
      const verdict = options.onChunk?.(chunk, direction) ?? "pass";
      if (verdict === "reset") return resetPair(pair);
      if (verdict === "silence") pauseAll();
      if (mode === "silent") return from.unshift(chunk);
      if (!to.write(chunk)) from.pause();
      return undefined;
    });
    to.on("drain", () => {
      if (mode === "pass") from.resume();
    });
    from.on("end", () => to.end());
    from.on("error", () => to.destroy());
    from.on("close", () => {
      pairs.delete(pair);
      to.destroy();
    });
  };
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    client.on("error", () => {});
    if (mode === "cut") return void client.resetAndDestroy();
    accepted += 1;
    const server = connect({ host: options.host ?? "127.0.0.1", port: options.port, allowHalfOpen: true });
    const pair = { client, server };
    pairs.add(pair);
    forward(pair, client, server);
    forward(pair, server, client);
    if (mode === "silent") server.pause();
    else client.resume();
    return undefined;
  });
  const port = await listen(listener);
  const reset = (): void => {
    for (const pair of pairs) resetPair(pair);
    pairs.clear();
  };
  const close = async (): Promise<void> => {
    mode = "cut";
    reset();
    const { promise, resolve } = Promise.withResolvers<void>();
    listener.close(() => resolve());
    await promise;
  };
  return {
    port,
    through: (url) => {
      const changed = new URL(url);
      changed.host = `127.0.0.1:${port}`;
      return changed.href;
    },
    openConnections: () => pairs.size,
    acceptedConnections: () => accepted,
    reset,
    cut: () => {
      mode = "cut";
      reset();
    },
    goSilent: pauseAll,
    heal: () => {
      mode = "pass";
      for (const { client, server } of pairs) for (const socket of [client, server]) socket.resume();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
};
