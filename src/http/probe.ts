//! One GET to a server on this machine. Not `fetch`, which would ask the proxy that HTTP_PROXY names, even for loopback.

import { get } from "node:http";
import { text } from "node:stream/consumers";

import { messageOf } from "../core/errors.ts";

export interface Probe {
  /** Null when nobody answered. */
  readonly status: number | null;
  /** The answer, or why there is none. */
  readonly text: string;
}

/** Never rejects. */
export const probe = async (url: string, signal: AbortSignal): Promise<Probe> => {
  const { promise, resolve } = Promise.withResolvers<Probe>();
  const fail = (error: unknown): void => resolve({ status: null, text: `no answer: ${messageOf(error)}` });
  const request = get(url, { agent: false, signal }, (response) => {
    const { statusCode = null } = response;
    text(response).then((body) => resolve({ status: statusCode, text: body.trim() }), fail);
  });
  request.on("error", fail);
  return await promise;
};
