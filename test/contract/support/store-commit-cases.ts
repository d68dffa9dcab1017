import { expect, test } from "bun:test";

import { batchOf, course, failureOf, leaseOf, minuteMs, rangeOf, receipt } from "./store-samples.ts";
import { type StoreUnderTest, withStore } from "./store-under-test.ts";

export const commitCases = (under: StoreUnderTest): void => {
  test("knows no cursor of a new subscription", async () => {
    await withStore(under, async (store) => {
      expect(await store.cursor("consumer")).toBeNull();
      await leaseOf(store);
      expect(await store.cursor("consumer")).toBeNull();
    });
  });

  test("keeps effects, receipts and the cursor of a commit, for whoever opens it next", async () => {
    await withStore(under, async (store, place) => {
      await store.commit(await leaseOf(store), batchOf([1n, 2n], "after 2"));
      await store.close();
      const next = place.open();
      expect(await next.cursor("consumer")).toBe("after 2");
      expect(await next.receiptIds(["courses"], 0n, 10)).toEqual([1n, 2n]);
      expect(await next.document("courses", "course-2")).toEqual({ CourseId: "course-2", Version: "2" });
    });
  });

  test("changes nothing when a commit is repeated", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      const commit = batchOf([1n, 2n, 3n], "after 3");
      await store.commit(lease, commit);
      const before = await store.documents("courses", null, 10);
      await store.commit(lease, commit);
      expect(await store.documents("courses", null, 10)).toEqual(before);
      expect(await store.receiptIds(["courses"], 0n, 10)).toEqual([1n, 2n, 3n]);
      expect(await store.receiptCount()).toBe(3);
      expect(await store.cursor("consumer")).toBe("after 3");
    });
  });

  test("replaces a document whose id is no well-formed text, as any other", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      const id = "course-\ud83d";
      await store.commit(lease, { writes: [course(id, 1n)], receipts: [receipt(1n)], cursor: "after 1" });
      await store.commit(lease, { writes: [course(id, 2n)], receipts: [receipt(2n)], cursor: "after 2" });
      const { documents } = await store.documents("courses", null, 10);
      expect(documents).toMatchObject([{ Version: "2" }]);
    });
  });

  test("refuses documents in a collection of its own, and writes nothing", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      for (const collection of ["subscriptions", "receivedEvents"]) {
        const writes = [course("course-1", 1n), { ...course("consumer", 1n), collection }];
        const refusal = { code: "store_error", retryable: false };
        expect(await failureOf(store.commit(lease, { ...batchOf([1n], "after 1"), writes }))).toMatchObject(
          refusal,
        );
        expect(await failureOf(store.document(collection, "consumer"))).toMatchObject(refusal);
        expect(await failureOf(store.documents(collection, null, 10))).toMatchObject(refusal);
      }
      expect(await store.cursor("consumer")).toBeNull();
      expect(await store.document("courses", "course-1")).toBeNull();
      expect(await store.receiptCount()).toBe(0);
    });
  });

  test("takes a batch of which a part was committed before", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      await store.commit(lease, batchOf([2n, 4n], "after 4"));
      await store.commit(lease, batchOf([1n, 2n, 3n, 4n, 5n], "after 5"));
      expect(await store.receiptIds(["courses"], 0n, 10)).toEqual([1n, 2n, 3n, 4n, 5n]);
      expect((await store.documents("courses", null, 10)).documents).toHaveLength(5);
    });
  });

  test("moves the cursor alone when nothing was handled", async () => {
    await withStore(under, async (store) => {
      await store.commit(await leaseOf(store), { writes: [], receipts: [], cursor: "further" });
      expect(await store.cursor("consumer")).toBe("further");
      expect(await store.receiptCount()).toBe(0);
    });
  });

  test("refuses the commit of a lease that is lost, and moves nothing back", async () => {
    await withStore(under, async (store, place) => {
      const paused = await leaseOf(store, "consumer", 0);
      const other = place.open();
      const holder = await leaseOf(other);
      await other.commit(holder, batchOf([1n, 2n], "after 2"));
      const failure = await failureOf(store.commit(paused, batchOf([1n], "after 1")));
      expect(failure).toMatchObject({ code: "lease_lost", retryable: false });
      expect(await store.cursor("consumer")).toBe("after 2");
      expect(await store.receiptIds(["courses"], 0n, 10)).toEqual([1n, 2n]);
      await other.commit(holder, batchOf([3n], "after 3"));
      expect(await store.cursor("consumer")).toBe("after 3");
    });
  });

  test("lets a lease that ran out commit as long as nobody has taken it", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store, "consumer", 0);
      await store.commit(lease, batchOf([1n], "after 1"));
      expect(await store.cursor("consumer")).toBe("after 1");
      expect(await store.acquire("consumer", lease, minuteMs)).toEqual(lease);
    });
  });

  test("never takes a document back to an older event's version", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      const versions = async (eventId: bigint) => {
        await store.commit(lease, { writes: [course("x", eventId)], receipts: [], cursor: `at ${eventId}` });
        return await store.document("courses", "x");
      };
      expect(await versions(20n)).toMatchObject({ Version: "20" });
      expect(await versions(10n)).toMatchObject({ Version: "20" });
      expect(await versions(9_007_199_254_740_993n)).toMatchObject({ Version: "9007199254740993" });
      expect(await versions(9_007_199_254_740_992n)).toMatchObject({ Version: "9007199254740993" });
    });
  });

  test("keeps the latest of several versions in one batch, whatever their order", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      const writes = [course("up", 1n), course("up", 2n), course("down", 4n), course("down", 3n)];
      await store.commit(lease, { writes, receipts: [], cursor: "done" });
      expect(await store.document("courses", "up")).toMatchObject({ Version: "2" });
      expect(await store.document("courses", "down")).toMatchObject({ Version: "4" });
    });
  });

  test("replaces a document whole", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      const first = course("x", 1n, { Gone: "later" });
      await store.commit(lease, { writes: [first], receipts: [receipt(1n)], cursor: "1" });
      await store.commit(lease, { writes: [course("x", 2n)], receipts: [receipt(2n)], cursor: "2" });
      expect(await store.document("courses", "x")).toEqual({ CourseId: "x", Version: "2" });
    });
  });

  test("commits a large batch, new and changed documents alike", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      await store.commit(lease, batchOf(rangeOf(1n, 1_500), "after 1500"));
      const changed = rangeOf(1n, 150).map((id) => course(`course-${id}`, id + 5_000n));
      await store.commit(lease, { writes: changed, receipts: [], cursor: "changed" });
      expect(await store.receiptCount()).toBe(1_500);
      expect(await store.document("courses", "course-150")).toMatchObject({ Version: "5150" });
      expect(await store.document("courses", "course-151")).toMatchObject({ Version: "151" });
    });
  });
};
