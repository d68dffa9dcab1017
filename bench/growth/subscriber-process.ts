//! A subscriber in a process of its own, so that its memory is its own.

import { join } from "node:path";

import { DeliveryError } from "../context.ts";

export interface SubscriberJob {
  readonly database: string;
  readonly topics: readonly string[];
  /** A cursor to go on from; null: where `from` says. */
  readonly since: string | null;
  readonly from: "earliest" | "latest";
  /** Stop by itself after so many events, at the end of a batch; null: when told to. */
  readonly stopAfter: number | null;
  /** Tell after so many events how far it is. */
  readonly tellEvery: number;
}

export interface SubscriberPlace {
  readonly kind: "at";
  readonly events: number;
  readonly rssMb: number;
  /** By its own clock. */
  readonly atMs: number;
  readonly cursorBytes: number;
}

export interface SubscriberEnd {
  readonly kind: "end";
  readonly events: number;
  readonly bytes: number;
  readonly firstId: string;
  readonly lastId: string;
  /** Events whose id was not above the one before. */
  readonly backwards: number;
  readonly cursor: string | null;
  readonly rssMb: number;
  readonly peakRssMb: number;
}

export type SubscriberWord =
  | SubscriberPlace
  | SubscriberEnd
  | { readonly kind: "live"; readonly rssMb: number }
  | { readonly kind: "failed"; readonly reason: string };

export interface SubscriberProcess extends AsyncDisposable {
  readonly pid: number;
  /** Once it is live, and has been for a moment. */
  readonly idleRssMb: number;
  readonly places: readonly SubscriberPlace[];
  /** Resolves when it has told of so many events. */
  readonly reaches: (events: number) => Promise<void>;
  readonly stop: () => void;
  /** @throws DeliveryError with what went wrong */
  readonly end: Promise<SubscriberEnd>;
}

export const startSubscriber = async (job: SubscriberJob): Promise<SubscriberProcess> => {
  const live = Promise.withResolvers<number>();
  const end = Promise.withResolvers<SubscriberEnd>();
  const places: SubscriberPlace[] = [];
  let moved = Promise.withResolvers<void>();
  const fail = (reason: string): void => {
    const error = new DeliveryError(`subscriber: ${reason}`);
    live.reject(error);
    end.reject(error);
    moved.reject(error);
  };
  for (const promise of [live.promise, end.promise, moved.promise]) promise.catch(() => {});
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "subscriber.ts"), JSON.stringify(job)], {
    stdio: ["ignore", "inherit", "inherit"],
    ipc: (word: SubscriberWord) => {
      switch (word.kind) {
        case "live":
          live.resolve(word.rssMb);
          break;
        case "at":
          places.push(word);
          moved.resolve();
          moved = Promise.withResolvers<void>();
          moved.promise.catch(() => {});
          break;
        case "end":
          end.resolve(word);
          break;
        case "failed":
          fail(word.reason);
          break;
      }
    },
  });
  void child.exited.then((code) => fail(`its process ended with code ${code}`));
  return {
    pid: child.pid,
    idleRssMb: await live.promise,
    places,
    reaches: async (events) => {
      while ((places.at(-1)?.events ?? 0) < events) await moved.promise;
    },
    stop: () => child.send("stop"),
    end: end.promise,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
};
