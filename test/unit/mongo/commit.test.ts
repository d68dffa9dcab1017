import { describe, expect, test } from "bun:test";

import { makeCommit, type CommitParts } from "../../../src/adapters/mongo/commit.ts";
import type { Step } from "../../../src/adapters/mongo/step.ts";
import type { Commit } from "../../../src/core/subscribe/store.ts";

const lease = { subscription: "consumer", token: 1n };
const commit: Commit = {
  writes: [{ collection: "courses", id: "x", document: {}, eventId: 1n }],
  receipts: [{ eventId: 1n, topic: "courses", type: null }],
  cursor: "after 1",
};

interface Scene {
  readonly hasTransactions: boolean;
  readonly isHeld?: boolean;
  /** How often the driver says that the transaction has to be tried again. */
  readonly conflicts?: number;
}

const play = ({ hasTransactions, isHeld = true, conflicts = 0 }: Scene) => {
  const done: string[] = [];
  const note = (what: string, { isTransaction, options }: Step): void => {
    done.push(`${what}${isTransaction && options.session !== undefined ? " in it" : ""}`);
  };
  // As the driver: tries again on conflicts, commits when the work resolves, aborts when it rejects.
  const withTransaction = async (work: () => Promise<void>): Promise<void> => {
    for (let tries = 0; tries <= conflicts; tries += 1) {
      done.push("begin");
      try {
        await work();
      } catch (error) {
        done.push("abort");
        throw error;
      }
      done.push(tries < conflicts ? "conflict" : "commit");
    }
  };
  const client = {
    withSession: async (use: (session: unknown) => Promise<void>) => await use({ withTransaction }),
  };
  const parts: CommitParts = {
    // The driver's session is a class with private parts: only the driver can make one.
    client: client as unknown as CommitParts["client"],
    server: {
      abilities: async () => await Promise.resolve({ hasTransactions, updatesMax: 10 }),
      now: async () => await Promise.resolve(new Date(0)),
    },
    documents: { write: async (_, step) => await Promise.resolve(note("effects", step)) },
    receipts: { put: async (_, __, step) => await Promise.resolve(note("receipts", step)) },
    subscriptions: {
      isHeld: async () => await Promise.resolve(isHeld),
      moveCursor: async (_, __, step) => {
        note("cursor", step);
        return await Promise.resolve(isHeld);
      },
    },
  };
  const run = makeCommit(parts);
  return {
    done,
    commit: async (signal = new AbortController().signal): Promise<unknown> =>
      await run(lease, commit, signal).then(
        () => null,
        (error: unknown) => error,
      ),
  };
};

describe("a commit to MongoDB", () => {
  test("is one transaction where the server has them", async () => {
    const scene = play({ hasTransactions: true });
    expect(await scene.commit()).toBeNull();
    expect(scene.done).toEqual(["begin", "effects in it", "receipts in it", "cursor in it", "commit"]);
  });

  test("is done again whole when the transaction conflicts with another", async () => {
    const scene = play({ hasTransactions: true, conflicts: 1 });
    expect(await scene.commit()).toBeNull();
    expect(scene.done.filter((it) => it === "effects in it")).toHaveLength(2);
    expect(scene.done.at(-1)).toBe("commit");
  });

  test("is rolled back whole when the lease is lost", async () => {
    const scene = play({ hasTransactions: true, isHeld: false });
    expect(await scene.commit()).toMatchObject({ code: "lease_lost" });
    expect(scene.done.at(-1)).toBe("abort");
  });

  test("starts nothing more once its deadline has passed", async () => {
    const scene = play({ hasTransactions: true });
    expect(await scene.commit(AbortSignal.abort(new Error("too late")))).toBeInstanceOf(Error);
    expect(scene.done).toEqual(["begin", "abort"]);
  });

  test("goes effects, receipts, cursor where the server has no transactions", async () => {
    const scene = play({ hasTransactions: false });
    expect(await scene.commit()).toBeNull();
    expect(scene.done).toEqual(["effects", "receipts", "cursor"]);
  });

  test("writes nothing at all, there too, when the lease is known to be lost", async () => {
    const scene = play({ hasTransactions: false, isHeld: false });
    expect(await scene.commit()).toMatchObject({ code: "lease_lost" });
    expect(scene.done).toEqual([]);
  });
});
