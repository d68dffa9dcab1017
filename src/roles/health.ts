//! `pgstream health`: asks the process on this machine whether it is ready, for a container's health check: no other
//! program is needed in the image.

import { PgstreamError } from "../core/errors.ts";
import { probe } from "../http/probe.ts";
import type { Command } from "./command.ts";

const timeoutMs = 4_000;

/** A server that listens everywhere is asked on the loopback. */
const loopbackOf = (host: string): string => {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::" || host === "[::]") return "[::1]";
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
};

export const health: Command = async ({ process: { roles, host, port } }, { print, signal }) => {
  if (port === null && roles.length > 0) {
    print("the migrator opens no port: nothing to ask");
    return 0;
  }
  if (port === null || port === 0) {
    throw new PgstreamError(
      "invalid_config",
      "PORT: not known: set PORT or ROLES as for the process to be asked",
    );
  }
  const { status, text } = await probe(
    `http://${loopbackOf(host)}:${port}/health/ready`,
    AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
  );
  print(text);
  return status === 200 ? 0 : 1;
};
