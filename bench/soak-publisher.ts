//! A process that publishes at a steady rate until it is told to stop, and then says how much that was. It ends with its
//! parent.

import { setTimeout as sleep } from "node:timers/promises";

import { openPublisher } from "../src/library/publisher.ts";
import { makeEventFactory } from "./events.ts";
import type { SoakPublisherJob, SoakPublisherWord } from "./soak-processes.ts";

const say = (word: SoakPublisherWord): void => void process.send?.(word);
const stopping = new AbortController();
process.on("message", () => stopping.abort());
process.on("disconnect", () => process.exit(1));

const intervalMs = 10;
/** Every so many calls its events have idempotency keys. */
const callsPerKeyed = 10;
const callsMax = 1_000;
const reportEveryMs = 1_000;

const { database, ratePerSecond } = JSON.parse(process.argv[2] ?? "null") as SoakPublisherJob;
const perCall = Math.max(1, Math.round((ratePerSecond * intervalMs) / 1_000));
const factory = makeEventFactory();
let published = 0;
let made = 0;

try {
  await using publisher = openPublisher({ database });
  const startedAtMs = performance.now();
  let saidAtMs = startedAtMs;
  const calls = new Set<Promise<unknown>>();
  for (let call = 0; !stopping.signal.aborted; call += 1) {
    const dueMs = startedAtMs + call * intervalMs - performance.now();
    if (dueMs > 0) await sleep(dueMs, undefined, { signal: stopping.signal }).catch(() => {});
    const events = Array.from({ length: perCall }, () => {
      made += 1;
      const draft = factory.draft(made);
      return call % callsPerKeyed === 0 ? { ...draft, idempotencyKey: `soak ${made}` } : draft;
    });
    const sent = publisher.publish(events).then((ids) => {
      published += ids.length;
    });
    const settled: Promise<unknown> = sent.finally(() => calls.delete(settled));
    calls.add(settled);
    // Far behind its rate it waits, rather than pile up.
    if (calls.size > callsMax) await Promise.race(calls);
    if (performance.now() - saidAtMs >= reportEveryMs) {
      saidAtMs = performance.now();
      say({ kind: "published", events: published });
    }
  }
  await Promise.all(calls);
  say({ kind: "end", events: published });
} catch (error) {
  say({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
}
process.disconnect?.();
