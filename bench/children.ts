//! Processes of their own for a measure, started, told to go, and ended with whatever they were doing.

import { join } from "node:path";

import { DeliveryError } from "./context.ts";

export interface Job {
  readonly kind: "publish" | "subscribe";
  readonly database: string;
  /** Of the whole log, shared out among so many publishers. */
  readonly events: number;
  readonly publishers: number;
  /** How many in the one process; of a publisher 0. */
  readonly subscriptions: number;
  /** What cursors are kept under. */
  readonly name: string;
  readonly from: "latest" | "earliest";
}

/** What a child says to its parent. */
export type Word =
  | { readonly kind: "ready" }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly reason: string };

export interface Child extends AsyncDisposable {
  readonly go: () => void;
  /** @throws DeliveryError with what the child had to say */
  readonly done: Promise<void>;
}

/** Resolves when it is ready. @throws DeliveryError when it fails before */
export const startChild = async (job: Job): Promise<Child> => {
  const ready = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  const fail = (reason: string): void => {
    const error = new DeliveryError(`${job.name}: ${reason}`);
    ready.reject(error);
    done.reject(error);
  };
  for (const { promise } of [ready, done]) promise.catch(() => {});
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "child.ts"), JSON.stringify(job)], {
    stdio: ["ignore", "inherit", "inherit"],
    ipc: (word: Word) => {
      if (word.kind === "ready") ready.resolve();
      else if (word.kind === "done") done.resolve();
      else fail(word.reason);
    },
  });
  void child.exited.then((code) => fail(`the process ended with code ${code}`));
  await ready.promise;
  return {
    go: () => child.send("go"),
    done: done.promise,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
};
