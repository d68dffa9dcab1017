//! The one listening socket of the process. What answers can be exchanged while it listens, so that health is served
//! before any role has started.

import { messageOf, PgstreamError } from "../core/errors.ts";
import { json } from "./json.ts";
import { httpProblems } from "./problem.ts";

const bodyBytesMax = 2 ** 20;
const idleTimeoutSeconds = 30;

export type Answer = (request: Request) => Response | Promise<Response>;

export interface HttpServer {
  readonly url: string;
  readonly answerWith: (answer: Answer) => void;
  /** Cuts off whatever is still open. */
  readonly close: () => Promise<void>;
}

/**
 * The same request under a URL that has a host of one length. Elysia looks for the path from a fixed place on, which a short `Host`
 * moves it in front of; and HTTP/1.0 needs none.
 */
const withHost = (request: Request): Request => {
  const path = request.url.replace(/^[a-z]+:\/\/[^/]*/i, "");
  return new Request(`http://localhost${path.startsWith("/") ? path : "/"}`, request);
};

const problem = (): Response => {
  const { status, ...body } = httpProblems.internal;
  return json(body, status);
};

/** @throws PgstreamError `invalid_config` when the address cannot be had */
export const openServer = (address: { host: string; port: number }, first: Answer): HttpServer => {
  const { host, port } = address;
  let answer = first;
  try {
    const server = Bun.serve({
      hostname: host,
      port,
      // Bun would let a second process listen on the same port, and each request go to either.
      reusePort: false,
      development: false,
      maxRequestBodySize: bodyBytesMax,
      idleTimeout: idleTimeoutSeconds,
      fetch: async (request) => await answer(withHost(request)),
      error: problem,
    });
    return {
      url: server.url.href,
      answerWith: (next) => {
        answer = next;
      },
      close: async () => await server.stop(true),
    };
  } catch (cause) {
    throw new PgstreamError(
      "invalid_config",
      `PORT: cannot listen on ${host} port ${port}: ${messageOf(cause)}; choose another with PORT or HOST`,
      { cause },
    );
  }
};
