//! A process of its own that publishes or subscribes for a measure. It makes the same events from the same seed, says when it
//! is ready, begins when told to go, and says when it is done or what went wrong. It ends with its parent.

import { checkerOf } from "./checker.ts";
import type { Job, Word } from "./children.ts";
import { type CursorTable, openCursor } from "./cursor-table.ts";
import { listsOf, makeDrafts } from "./events.ts";
import { openPublishers, openReader, publishLists, type Reader } from "./log.ts";

const say = (word: Word): void => void process.send?.(word);
const told = Promise.withResolvers<void>();
process.on("message", () => told.resolve());
process.on("disconnect", () => process.exit(1));

const publish = async ({ database, events, publishers }: Job): Promise<void> => {
  const lists = listsOf(makeDrafts(events, publishers), publishers, 1_000);
  await using open = await openPublishers(database, publishers);
  say({ kind: "ready" });
  await told.promise;
  await publishLists(open.publishers, lists);
};

const subscribe = async (job: Job): Promise<void> => {
  const { database, events, publishers, subscriptions, name, from } = job;
  const drafts = makeDrafts(events, publishers);
  await using open = new AsyncDisposableStack();
  const cursors: CursorTable[] = [];
  for (let index = 0; index < subscriptions; index += 1) {
    cursors.push(open.use(await openCursor(database, `${name}-${index}`)));
  }
  const start = (): readonly Reader[] =>
    cursors.map((cursor, index) => {
      const checker = checkerOf(`${name}-${index}`, drafts);
      return open.use(openReader({ database, checker, until: events, cursor, from }));
    });
  // Whoever starts at the end must be there before the first event; whoever catches up begins when the clock does.
  const early = from === "latest" ? start() : [];
  await Promise.all(early.map(async (reader) => await reader.live()));
  say({ kind: "ready" });
  await told.promise;
  const readers = from === "latest" ? early : start();
  await Promise.all(readers.map(async (reader) => await reader.end()));
};

const job = JSON.parse(process.argv[2] ?? "null") as Job;
try {
  await (job.kind === "publish" ? publish(job) : subscribe(job));
  say({ kind: "done" });
} catch (error) {
  say({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
}
