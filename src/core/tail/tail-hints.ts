//! Who hears a hint: the tail for all its members, and whoever is not in it for itself.

import type { Membership } from "./tail-queue.ts";
import type { Tail } from "./tail.ts";

export interface HintedTail {
  readonly tail: Tail;
  /** To be told of every hint. */
  readonly onHint: () => void;
}

/** @param onHint called at hints that the tail does not hear for this member: also from when it was put out until it asks to join again */
export const hintedTail = (shared: Tail, onHint: () => void): HintedTail => {
  let membership: Membership | null = null;
  return {
    tail: {
      join: (member) => {
        membership = shared.join(member);
        return membership;
      },
    },
    onHint: () => {
      if (membership?.isOpen() !== true) onHint();
    },
  };
};
