//! Bugs that chance has to find: each breaks one rule of a fast path, and nothing else. They wrap what a fast path is given,
//! or what it gives, so that all the rest is judged as it is shipped.

import { messageOf } from "../../../src/core/errors.ts";
import type { LiveLog } from "../../../src/core/tail/tail-reader.ts";
import type { Tail } from "../../../src/core/tail/tail.ts";
import { makeRandom } from "../../support/seed.ts";

/**
 * What is wrong with the first history that goes wrong, of at most so many; null when none does. A checker that sees
 * nothing answers null.
 */
export const firstViolation = async (
  bug: string,
  historiesMax: number,
  run: (seed: number) => Promise<unknown>,
): Promise<string | null> => {
  const { integer } = makeRandom(bug);
  for (let n = 1; n <= historiesMax; n += 1) {
    const seed = integer(0, 2 ** 31);
    try {
      await run(seed);
    } catch (error) {
      console.log(`${bug}: history ${seed}, number ${n}: ${messageOf(error)}`);
      return messageOf(error);
    }
  }
  return null;
};

export interface TailPlant {
  readonly live?: (live: LiveLog) => LiveLog;
  readonly tail?: (tail: Tail) => Tail;
}

const beyondAllIds = 2n ** 62n;

export const plantedInTail: Readonly<Record<string, TailPlant>> = {
  "a window that leaves out what committed late": {
    live: (live) => ({ read: async (request) => await live.read({ ...request, lateBound: beyondAllIds }) }),
  },
  "one lower bound for late commits and for the rest": {
    live: (live) => ({
      read: async (request) => await live.read({ ...request, lateBound: request.mainBound }),
    }),
  },
  "a window of topics that are out of date": {
    live: (live) => {
      let before: readonly number[] | null = null;
      return {
        read: async (request) => {
          const topicIds = before ?? request.topicIds;
          before = request.topicIds;
          return await live.read({ ...request, topicIds });
        },
      };
    },
  },
  "a member that takes the tail's place for its own": {
    tail: (tail) => ({
      join: (member) => {
        const membership = tail.join(member);
        if (membership === null) return null;
        let isFirst = true;
        return {
          first: () => {
            const window = membership.first();
            return isFirst && window !== null ? { ...window, start: member.cursor } : window;
          },
          drop: () => {
            isFirst = false;
            membership.drop();
          },
          isOpen: () => membership.isOpen(),
          leave: () => membership.leave(),
        };
      },
    }),
  },
};
