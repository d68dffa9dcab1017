//! Sends calls as one batch. When one of them spoils it, in halves, until it fails alone.

import { hasCode, PgstreamError } from "../errors.ts";
import type { Sender } from "./append-until-known.ts";
import type { WaitingCall } from "./publish-queue.ts";

export interface HalvesPorts<Call> {
  readonly sender: Sender;
  /** The ids are those of all events of these calls, in order. */
  readonly published: (calls: readonly Call[], ids: readonly bigint[]) => void;
  readonly failed: (calls: readonly Call[], error: unknown) => void;
}

/** Each call is told of once, when this resolves at the latest. */
export const sendInHalves = async <Call extends WaitingCall>(
  calls: readonly Call[],
  ports: HalvesPorts<Call>,
): Promise<void> => {
  try {
    const events = calls.flatMap((call) => call.events);
    const ids = await ports.sender.append(events);
    if (ids.length !== events.length) throw new PgstreamError("internal", "the log answered too few ids");
    ports.published(calls, ids);
  } catch (error) {
    if (calls.length === 1 || hasCode(error, "publish_unknown", "database_unavailable", "internal")) {
      ports.failed(calls, error);
      return;
    }
    const half = Math.ceil(calls.length / 2);
    await sendInHalves(calls.slice(0, half), ports);
    await sendInHalves(calls.slice(half), ports);
  }
};
