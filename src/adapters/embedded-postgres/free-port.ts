//! A port nobody listens on.

import { createServer } from "node:net";

import { PgstreamError } from "../../core/errors.ts";

// Below the range from which systems take the near end of outgoing connections (Linux 32768, macOS 49152 and up). In that
// range a client that retries against a stopped server sooner or later connects to itself, and another one takes the port.
const portMin = 20_000;
const portMax = 29_999;
const attemptsMax = 50;

const isFree = async (port: number): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once("error", () => resolve(false));
  server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  return await promise;
};

/** @throws PgstreamError database_unavailable when many tries found none */
export const findFreePort = async (): Promise<number> => {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const port = portMin + Math.floor(Math.random() * (portMax - portMin + 1));
    if (await isFree(port)) return port;
  }
  throw new PgstreamError(
    "database_unavailable",
    `no free port between ${portMin} and ${portMax} on 127.0.0.1`,
  );
};
