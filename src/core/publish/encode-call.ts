//! What one call of `publish` is given, checked and encoded: all of it, or nothing is published.

import { PgstreamError } from "../errors.ts";
import { encodeEvent, type EncodedEvent, type EventDraft } from "../event.ts";

export interface CallLimits {
  readonly eventBytesMax: number;
  /** Of one call: it is one statement, and a server that takes no statement so large would be asked again for ever. */
  readonly callBytesMax: number;
}

/** @throws PgstreamError `invalid_event`, `invalid_topic`, `event_too_large` */
export const encodeCall = (
  drafts: readonly EventDraft[],
  { eventBytesMax, callBytesMax }: CallLimits,
): { readonly events: readonly EncodedEvent[]; readonly bytes: number } => {
  // Holes are looked at as well: whoever left one out would be given the ids of another caller.
  const events = Array.from(drafts, (draft) => encodeEvent(draft, eventBytesMax));
  const bytes = events.reduce((sum, event) => sum + event.bytes, 0);
  if (bytes > callBytesMax) {
    throw new PgstreamError(
      "event_too_large",
      `the ${events.length} events of one call have ${bytes} bytes, more than the ${callBytesMax} allowed: publish them in several calls`,
    );
  }
  return { events, bytes };
};
