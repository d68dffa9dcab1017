//! What measures do with the log, through the public library alone: fill it, and read it to the end.

import postgres from "postgres";

import { openPublisher } from "../src/library/publisher.ts";
import { openSubscription, type SubscriptionOptions } from "../src/library/subscription.ts";
import type { Checker } from "./checker.ts";
import type { CursorTable } from "./cursor-table.ts";
import { type Draft, listsOf, topicNames } from "./events.ts";

export type Publisher = ReturnType<typeof openPublisher>;

/** What connections are opened with before a clock starts; readers pass over it. */
export const warmUpTopic = "warm-up";

/** Each publisher its own lists, one in flight each, every one resolved only when it is durable. */
export const publishLists = async (
  publishers: readonly Publisher[],
  lists: readonly (readonly (readonly Draft[])[])[],
): Promise<void> => {
  await Promise.all(
    publishers.map(async (publisher, index) => {
      for (const list of lists[index] ?? []) await publisher.publish(list);
    }),
  );
};

export interface OpenPublishers extends AsyncDisposable {
  readonly publishers: readonly Publisher[];
}

/** Topics are created ahead, as the README advises, and connections are open: a clock may start. */
export const openPublishers = async (database: string, count: number): Promise<OpenPublishers> => {
  await using opening = new AsyncDisposableStack();
  const admin = opening.adopt(
    postgres(database, { max: 1, fetch_types: false, onnotice: () => {} }),
    async (sql) => await sql.end({ timeout: 1 }),
  );
  await admin`
    insert into pgstream.topics (name) select unnest(string_to_array(${topicNames.join(",")}, ','))
    on conflict do nothing`;
  const publishers = Array.from({ length: count }, () => opening.use(openPublisher({ database })));
  await Promise.all(
    publishers.map(async (publisher) => {
      await Promise.all(
        Array.from({ length: 8 }, async () => await publisher.publish({ topic: warmUpTopic, data: {} })),
      );
    }),
  );
  const opened = opening.move();
  return { publishers, [Symbol.asyncDispose]: async () => await opened.disposeAsync() };
};

export const fillLog = async (database: string, drafts: readonly Draft[], count = 4): Promise<void> => {
  await using open = await openPublishers(database, count);
  await publishLists(open.publishers, listsOf(drafts, count, 5_000));
};

export interface ReaderOptions extends Partial<SubscriptionOptions> {
  readonly database: string;
  readonly checker: Checker;
  /** Resolves when so many have been handled. */
  readonly until: number;
  /** Null: the cursor stays in memory. */
  readonly cursor: CursorTable | null;
}

export interface Reader extends AsyncDisposable {
  /** Resolves when it has handled everything there is so far. Polled: only before a clock starts. */
  readonly live: () => Promise<void>;
  /**
   * Resolves when `until` events have been handled and the last one's cursor is committed.
   * @throws DeliveryError when one was wrong, or when nothing has come for so long that the rest never will
   */
  readonly end: () => Promise<void>;
  /** Rejects when something goes wrong, and never resolves before the end. */
  readonly failed: Promise<void>;
}

const silenceMsMax = 20_000;

/** Rejects with what is missing when nothing has come for a while; ends with the signal. */
const watchSilence = async (checker: Checker, signal: AbortSignal): Promise<void> => {
  let count = checker.count();
  let sinceMs = performance.now();
  while (!signal.aborted) {
    await Bun.sleep(100);
    if (checker.count() !== count) {
      count = checker.count();
      sinceMs = performance.now();
    } else if (performance.now() - sinceMs > silenceMsMax) {
      checker.finish();
    }
  }
};

export const openReader = ({ checker, until, cursor, ...options }: ReaderOptions): Reader => {
  const finished = Promise.withResolvers<void>();
  const subscription = openSubscription({
    topics: [">"],
    from: "earliest",
    ...options,
    cursor: async () => (cursor === null ? null : await cursor.load()),
    handle: async (events, { cursor: position }) => {
      try {
        for (const event of events) {
          if (event.topic !== warmUpTopic) checker.see(event);
        }
      } catch (error) {
        finished.reject(error);
        return;
      }
      await cursor?.save(position);
      if (checker.count() >= until) finished.resolve();
    },
  });
  const failed = Promise.race([finished.promise, subscription.done]);
  // Whoever does not wait for it learns of a failure by what is missing in the end.
  failed.catch(() => {});
  return {
    failed,
    live: async () => {
      while (subscription.status().state !== "live") await Promise.race([Bun.sleep(5), subscription.done]);
    },
    end: async () => {
      const ended = new AbortController();
      try {
        await Promise.race([failed, watchSilence(checker, ended.signal)]);
      } finally {
        ended.abort();
      }
      checker.finish();
    },
    [Symbol.asyncDispose]: subscription.stop,
  };
};

/** Handles every event of the log and resolves when the last one is done, its cursor committed. */
export const readToEnd = async (options: ReaderOptions): Promise<void> => {
  await using reader = openReader(options);
  await reader.end();
};
