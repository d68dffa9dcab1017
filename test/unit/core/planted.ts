//! Bugs that chance has to find: each breaks one rule of a fast path, and nothing else. They wrap what a fast path is given,
//! or what it gives, so that all the rest is judged as it is shipped.

import { messageOf } from "../../../src/core/errors.ts";
import type { EncodedEvent, EventDraft } from "../../../src/core/event.ts";
import type { Log } from "../../../src/core/log.ts";
import type { EventAppender } from "../../../src/core/publish/append-until-known.ts";
import type { Publisher } from "../../../src/core/publish/publisher.ts";
import type { hintedTail } from "../../../src/core/tail/tail-hints.ts";
import type { LiveLog } from "../../../src/core/tail/tail-reader.ts";
import type { Tail } from "../../../src/core/tail/tail.ts";
import type { WakeupFlag } from "../../../src/core/wakeup-flag.ts";
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

export type ReadAheadPlant = (log: Log) => Log;

/** A page asked for from the place before the one that is meant. */
const fromThePageBefore: ReadAheadPlant = (log) => {
  let before: bigint | null = null;
  return {
    ...log,
    firstPage: async (request) => {
      before = request.after;
      return await log.firstPage(request);
    },
    nextPage: async (request, end) => {
      const after = before ?? request.after;
      before = request.after;
      return await log.nextPage({ ...request, after }, end);
    },
  };
};

/** What a look says of purges is older than the page then, and taken as current. */
const behindTheLook: ReadAheadPlant = (log) => {
  let look: Promise<unknown> = Promise.resolve();
  const afterLook = async <T>(page: () => Promise<T>): Promise<T> => {
    // The look is asked for in the same turn.
    await Promise.resolve();
    await look.catch(() => {});
    return await page();
  };
  return {
    ...log,
    look: async (request) => {
      const answer = log.look(request);
      look = answer;
      return await answer;
    },
    firstPage: async (request) => await afterLook(async () => await log.firstPage(request)),
    nextPage: async (request, end) => await afterLook(async () => await log.nextPage(request, end)),
  };
};

/** Each with the words for what it breaks. */
export const plantedInReadAhead: Readonly<
  Record<string, { readonly plant: ReadAheadPlant; readonly breaks: RegExp }>
> = {
  "a page ahead that starts where the one before it started": {
    plant: fromThePageBefore,
    breaks: /came twice/,
  },
  "a page ahead that leaves out what committed late": {
    plant: (log) => ({
      ...log,
      nextPage: async (request, end) => await log.nextPage(request, { ...end, late: null }),
    }),
    breaks: / lost \d+, and told of/,
  },
  "a page ahead that is sent behind its look at what was purged": {
    plant: behindTheLook,
    breaks: / lost \d+, and told of/,
  },
};

export interface PublishPlant {
  readonly publisher?: (publisher: Publisher) => Publisher;
  readonly appender?: (appender: EventAppender) => EventAppender;
}

const disguise = "#";

/** A key of its own for each event, so that no two calls have one in common. */
const disguised = (drafts: readonly EventDraft[]): readonly EventDraft[] =>
  drafts.map((draft) => ({ ...draft, key: `${draft.key ?? ""}${disguise}${crypto.randomUUID()}` }));

const undisguised = (event: EncodedEvent): EncodedEvent => {
  const key = event.key?.split(disguise)[0] ?? "";
  return { ...event, key: key === "" ? null : key };
};

/** Each with the words for what it breaks. */
export const plantedInPublisher: Readonly<Record<string, PublishPlant & { readonly breaks: string }>> = {
  "one key on two lanes at once, by a queue that does not see keys,": {
    breaks: "keys that are on one lane at a time",
    publisher: (publisher) => ({
      ...publisher,
      status: () => publisher.status(),
      publish: (async (drafts: readonly EventDraft[]) =>
        await publisher.publish(disguised(drafts))) as Publisher["publish"],
    }),
    appender: (appender) => ({
      append: async (batch) => await appender.append({ ...batch, events: batch.events.map(undisguised) }),
    }),
  },
  "a batch in doubt that is repeated under a new name": {
    breaks: "each event once",
    appender: (appender) => {
      let names = 0;
      return {
        append: async (batch) => {
          names += 1;
          return await appender.append({ ...batch, publisher: `${batch.publisher}/${names}`, number: 1n });
        },
      };
    },
  },
};

export interface HintPlant {
  /** Of each subscription. */
  readonly flag?: (flag: WakeupFlag) => WakeupFlag;
  readonly tailFlag?: (flag: WakeupFlag) => WakeupFlag;
  readonly hinted?: typeof hintedTail;
  /** When hints are sent: by default behind the commit. */
  readonly isEarly?: boolean;
}

/** Forgets what was hinted while it looked. */
const clearedBehindTheLook = (flag: WakeupFlag): WakeupFlag => ({
  raise: flag.raise,
  clear: () => {},
  wait: async (ms, signal) => {
    flag.clear();
    await flag.wait(ms, signal);
  },
});

/** Hears no hint from when it was put out of the tail until it asks again. */
const deafUntilItAsksAgain: typeof hintedTail = (shared, onHint) => {
  let isIn = false;
  return {
    tail: {
      join: (member) => {
        const membership = shared.join(member);
        isIn = membership !== null;
        return membership;
      },
    },
    onHint: () => {
      if (!isIn) onHint();
    },
  };
};

export const plantedInHints: Readonly<Record<string, HintPlant>> = {
  "a hint ahead of its batch": { isEarly: true },
  "a subscription that clears its flag behind the look": { flag: clearedBehindTheLook },
  "a tail that clears its flag behind the look": { tailFlag: clearedBehindTheLook },
  "a subscription that is deaf once it is put out of the tail": { hinted: deafUntilItAsksAgain },
};
