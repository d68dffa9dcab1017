//! A cursor kept in a store is kept under a lease: who may have lost it stops.

import { expect, test } from "bun:test";

import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import { PgstreamError } from "../../src/core/errors.ts";
import { openStore } from "../../src/library/open-store.ts";
import { runStored } from "../../src/library/stored-cursor.ts";
import { makeFakeClock, makeFakeLogger } from "./core/fakes.ts";

test("the work ends with the lease that the store no longer renews, though nobody told it to stop", async () => {
  const store = await openStore("sqlite::memory:");
  const clock = makeFakeClock();
  const stopping = new AbortController();
  const begun: AbortSignal[] = [];
  let acquired = 0;
  const failing: typeof store = {
    ...store,
    acquire: async (...args) => {
      acquired += 1;
      if (acquired > 1) throw new PgstreamError("store_unavailable", "it is away", { retryable: true });
      return await store.acquire(...args);
    },
  };
  const running = runStored(
    { store: failing, subscription: "s", leaseTtlMs: 1_000, receiptsAgeMs: 1_000, handle: async () => {} },
    {
      client: {} as PostgresClient,
      clock,
      logger: makeFakeLogger(),
      onState: () => {},
      runWith: async (_, until) => {
        begun.push(until);
        const { promise, resolve } = Promise.withResolvers<void>();
        until.addEventListener("abort", () => resolve());
        await promise;
      },
    },
    stopping.signal,
  );
  await clock.pass(2_000);
  expect(begun.map(({ aborted }) => aborted)).toEqual([true]);
  stopping.abort();
  await running;
  await store.close();
});
