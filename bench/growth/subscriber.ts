//! A process that subscribes, and tells its parent how far it is and how much memory it takes, as the operating system sees
//! it. It ends with its parent.

import { readFileSync } from "node:fs";

import { openSubscription } from "../../src/library/subscription.ts";
import type { SubscriberJob, SubscriberWord } from "./subscriber-process.ts";

const say = (word: SubscriberWord): void => void process.send?.(word);
const told = Promise.withResolvers<void>();
process.on("message", () => told.resolve());
process.on("disconnect", () => process.exit(1));

const warmUpMs = 1_500;
const mega = 2 ** 20;
const rssMb = (): number => process.memoryUsage.rss() / mega;
/**
 * The most it ever took. Linux counts what the parent took before it became this program into `maxRSS`, and so the memory of a
 * benchmark that has done much before; what `/proc` tells is this program's alone.
 */
const peakRssMb = (): number => {
  if (process.platform !== "linux") return process.resourceUsage().maxRSS / mega;
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kilobytes) / 1_024;
};

const { database, topics, since, from, stopAfter, tellEvery } = JSON.parse(
  process.argv[2] ?? "null",
) as SubscriberJob;
let events = 0;
let bytes = 0;
let lastId = 0n;
let firstId = 0n;
let backwards = 0;
let cursor = since;
let toldAt = 0;

const subscription = openSubscription({
  database,
  topics,
  from,
  cursor: async () => await Promise.resolve(cursor),
  handle: async (batch, context) => {
    for (const event of batch) {
      if (event.id <= lastId) backwards += 1;
      if (firstId === 0n) firstId = event.id;
      lastId = event.id;
      bytes += event.json.length;
      // Decoded, as an application would.
      if (event.data === undefined) throw new Error(`event ${event.id} carries nothing`);
    }
    events += batch.length;
    ({ cursor } = context);
    if (events - toldAt >= tellEvery) {
      toldAt = events;
      say({ kind: "at", events, rssMb: rssMb(), atMs: performance.now(), cursorBytes: cursor.length });
    }
    // From within: the batch in hand is the last one.
    if (stopAfter !== null && events >= stopAfter) void subscription.stop();
    return await Promise.resolve();
  },
});

try {
  const startsAtTheEnd = since === null && from === "latest";
  const isLive = (): boolean => subscription.status().state === "live";
  if (startsAtTheEnd) for (; !isLive();) await Promise.race([Bun.sleep(10), subscription.done]);
  // What is loaded at first use is loaded then.
  await Promise.race([Bun.sleep(warmUpMs), subscription.done]);
  say({ kind: "live", rssMb: rssMb() });
  await Promise.race([told.promise, subscription.done]);
  await subscription.stop();
  say({
    kind: "end",
    events,
    bytes,
    firstId: String(firstId),
    lastId: String(lastId),
    backwards,
    cursor,
    rssMb: rssMb(),
    peakRssMb: peakRssMb(),
  });
} catch (error) {
  say({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
}
process.disconnect?.();
