//! Keeps count of events of types that the application does not know, and says so once for each type.

import type { Logger } from "../core/ports.ts";
import type { UnknownType } from "./handlers.ts";

// Types come from publishers: somebody who makes one up for each event must not fill our memory, nor the log.
const typesMax = 1_000;

export const makeUnknownTypes = (logger: Logger) => {
  const seen = new Set<string>();
  let count = 0;

  const tell = ({ topic, type }: UnknownType): void => {
    if (seen.size > typesMax) return;
    const name = `${topic}\n${type ?? ""}`;
    if (seen.has(name)) return;
    seen.add(name);
    if (seen.size > typesMax) {
      logger.warn({ types: typesMax }, "too many types of events are unknown; further ones are only counted");
      return;
    }
    logger.warn(
      { topic, type },
      "events of this type are unknown: they are kept as receipts and lead to nothing",
    );
  };

  return {
    note: (unknown: readonly UnknownType[]): void => {
      count += unknown.length;
      for (const it of unknown) tell(it);
    },
    /** Events since the start; one that is delivered again counts again. */
    count: (): number => count,
  };
};
