import { expect, test } from "bun:test";

import { waitFor } from "../../support/wait-for.ts";
import { failureOf, leaseOf, minuteMs } from "./store-samples.ts";
import { type StoreUnderTest, withStore } from "./store-under-test.ts";

const crowd = 20;

export const leaseCases = (under: StoreUnderTest): void => {
  const { lacksAtomicUpdates } = under;
  const atomicTest = lacksAtomicUpdates === null ? test : test.skip;
  const because = lacksAtomicUpdates === null ? "" : ` (skipped: ${lacksAtomicUpdates})`;
  if (because !== "") console.warn(`SKIPPED the race for a lease that has run out${because}`);

  test("is prepared by any number of processes at once", async () => {
    await using place = under.makePlace();
    const stores = Array.from({ length: 5 }, () => place.open());
    await Promise.all(stores.map(async (it) => await it.prepare()));
    expect(await stores[0]?.receiptCount()).toBe(0);
  });

  test("gives the lease of a new subscription to exactly one of many", async () => {
    await withStore(under, async (_, place) => {
      const stores = Array.from({ length: crowd }, () => place.open());
      const leases = await Promise.all(
        stores.map(async (it) => await it.acquire("consumer", null, minuteMs)),
      );
      expect(leases.filter((it) => it !== null)).toHaveLength(1);
    });
  });

  atomicTest(`gives a lease that has run out to exactly one of many${because}`, async () => {
    await withStore(under, async (store, place) => {
      const old = await leaseOf(store, "consumer", 0);
      const stores = Array.from({ length: crowd }, () => place.open());
      const leases = await Promise.all(
        stores.map(async (it) => await it.acquire("consumer", null, minuteMs)),
      );
      const won = leases.filter((it) => it !== null);
      expect(won).toHaveLength(1);
      expect(won[0]?.token).toBeGreaterThan(old.token);
    });
  });

  test("gives a lease to the next only when it has run out, with a greater token", async () => {
    await withStore(under, async (store, place) => {
      const old = await leaseOf(store, "consumer", 300);
      const other = place.open();
      expect(await other.acquire("consumer", null, minuteMs)).toBeNull();
      const next = await waitFor(async () => await other.acquire("consumer", null, minuteMs), {
        what: "the lease to run out",
      });
      expect(next.token).toBeGreaterThan(old.token);
    });
  });

  test("keeps a prolonged lease, under the same token", async () => {
    await withStore(under, async (store, place) => {
      const lease = await leaseOf(store, "consumer", 0);
      expect(await store.acquire("consumer", lease, minuteMs)).toEqual(lease);
      expect(await place.open().acquire("consumer", null, minuteMs)).toBeNull();
    });
  });

  test("does not prolong a lease that somebody else has taken", async () => {
    await withStore(under, async (store, place) => {
      const old = await leaseOf(store, "consumer", 0);
      const next = await leaseOf(place.open());
      expect(await store.acquire("consumer", old, minuteMs)).toBeNull();
      expect(await store.acquire("consumer", next, minuteMs)).toEqual(next);
    });
  });

  test("lets the next in at once when a lease is given up, and nothing more be done with it", async () => {
    await withStore(under, async (store, place) => {
      const lease = await leaseOf(store);
      await store.release(lease);
      await store.release(lease);
      expect(await store.acquire("consumer", lease, minuteMs)).toBeNull();
      const late = store.commit(lease, { writes: [], receipts: [], cursor: "late" });
      expect(await failureOf(late)).toMatchObject({ code: "lease_lost", retryable: false });
      const next = await leaseOf(place.open());
      expect(next.token).toBeGreaterThan(lease.token);
      expect(await store.cursor("consumer")).toBeNull();
    });
  });

  test("does not take a lease from its holder when one that is lost is given up", async () => {
    await withStore(under, async (store, place) => {
      const old = await leaseOf(store, "consumer", 0);
      const next = await leaseOf(place.open());
      await store.release(old);
      expect(await store.acquire("consumer", next, minuteMs)).toEqual(next);
      expect(await store.acquire("consumer", null, minuteMs)).toBeNull();
    });
  });

  test("keeps subscriptions apart", async () => {
    await withStore(under, async (store) => {
      const one = await leaseOf(store, "one");
      const two = await leaseOf(store, "two");
      await store.commit(one, { writes: [], receipts: [], cursor: "first" });
      await store.commit(two, { writes: [], receipts: [], cursor: "second" });
      expect(await store.cursor("one")).toBe("first");
      expect(await store.cursor("two")).toBe("second");
    });
  });
};
