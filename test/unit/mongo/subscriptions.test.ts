//! The cursor's guard, as far as no server is needed to see it.

import { expect, test } from "bun:test";

import type { Db } from "mongodb";

import type { Server } from "../../../src/adapters/mongo/server.ts";
import { makeSubscriptions } from "../../../src/adapters/mongo/subscriptions.ts";

test("each attempt at moving the cursor has a number above all before it, and gives way to none below", async () => {
  const numbers: (readonly [guard: unknown, written: unknown])[] = [];
  const collection = {
    updateOne: async (filter: { move: { $lte: number } }, update: { $set: { move: number } }) => {
      numbers.push([filter.move.$lte, update.$set.move]);
      return await Promise.resolve({ matchedCount: 1 });
    },
  };
  const database = { collection: () => collection } as unknown as Db;
  const { moveCursor } = makeSubscriptions(database, {} as Server, 1_000);
  const step = { options: {}, isTransaction: false, signal: new AbortController().signal };
  const lease = { subscription: "consumer", token: 1n };
  for (const cursor of ["first", "the same again", "the next"]) await moveCursor(lease, cursor, step);
  expect(numbers).toEqual([
    [1, 1],
    [2, 2],
    [3, 3],
  ]);
});
