import { expect, test } from "bun:test";

import type { ConsumerStore } from "../../../src/core/subscribe/store.ts";
import { waitFor } from "../../support/wait-for.ts";
import { batchOf, course, failureOf, leaseOf, minuteMs, rangeOf, receipt } from "./store-samples.ts";
import { type StoreUnderTest, withStore } from "./store-under-test.ts";

const putCourses = async (store: ConsumerStore, ids: readonly string[]): Promise<void> => {
  const writes = ids.map((id, at) => course(id, BigInt(at + 1)));
  await store.commit(await leaseOf(store), { writes, receipts: [], cursor: "put" });
};

/** Every id, page by page. */
const pagesOf = async (store: ConsumerStore, limit: number): Promise<readonly (readonly unknown[])[]> => {
  const pages: unknown[][] = [];
  let after: string | null = null;
  do {
    const page = await store.documents("courses", after, limit);
    pages.push(page.documents.map(({ CourseId }) => CourseId));
    after = page.next;
  } while (after !== null && pages.length < 100);
  return pages;
};

export const readCases = (under: StoreUnderTest): void => {
  test("answers what is not there with null and an empty last page", async () => {
    await withStore(under, async (store) => {
      expect(await store.document("courses", "x")).toBeNull();
      expect(await store.documents("courses", null, 10)).toEqual({ documents: [], next: null });
    });
  });

  test("pages through documents in the order of their ids' bytes", async () => {
    await withStore(under, async (store) => {
      await putCourses(store, ["b", "B", "é", "10", "9", "\u{1F600}", "\uFF5E", "a"]);
      expect(await pagesOf(store, 3)).toEqual([
        ["10", "9", "B"],
        ["a", "b", "é"],
        ["\uFF5E", "\u{1F600}"],
      ]);
      expect(await pagesOf(store, 8)).toHaveLength(1);
      expect(await pagesOf(store, 4)).toHaveLength(2);
    });
  });

  test("goes on behind an id that is not there any more, or never was", async () => {
    await withStore(under, async (store) => {
      await putCourses(store, ["a", "c"]);
      const { documents } = await store.documents("courses", "b", 10);
      expect(documents.map(({ CourseId }) => CourseId)).toEqual(["c"]);
    });
  });

  test("keeps collections apart", async () => {
    await withStore(under, async (store) => {
      const writes = [course("x", 1n), { ...course("y", 2n), collection: "policies" }];
      await store.commit(await leaseOf(store), { writes, receipts: [], cursor: "1" });
      expect((await store.documents("courses", null, 10)).documents).toHaveLength(1);
      expect(await store.document("policies", "x")).toBeNull();
      expect(await store.document("policies", "y")).not.toBeNull();
    });
  });

  test("gives a document back as it was written", async () => {
    await withStore(under, async (store) => {
      const fields = {
        _id: "the application's own",
        text: 'quotes " and \\ and \u{1F600} and\nlines',
        empty: "",
        numbers: [0, -1, 0.1, 2 ** 31, 2 ** 53 - 1, 1e300],
        nothing: null,
        yes: true,
        deep: { er: { list: [{}, { none: [] }, null] } },
      };
      const written = course("x", 1n, fields);
      await store.commit(await leaseOf(store), { writes: [written], receipts: [], cursor: "1" });
      expect(await store.document("courses", "x")).toEqual(written.document);
    });
  });

  test("takes every id as text, whatever it looks like", async () => {
    await withStore(under, async (store) => {
      const ids = ['{"$gt":""}', "$where", "' or 1=1 --", "a%b_c"];
      await putCourses(store, ["victim", ...ids]);
      for (const id of ids) expect(await store.document("courses", id)).toMatchObject({ CourseId: id });
      expect(await store.document("courses", '{"$ne":null}')).toBeNull();
      expect(await store.document("courses", "%")).toBeNull();
    });
  });

  test("tells ids beyond 2^53 apart, and orders them as numbers", async () => {
    await withStore(under, async (store) => {
      const ids = [9n, 10n, ...rangeOf(2n ** 53n, 4), 2n ** 63n - 1n];
      await store.commit(await leaseOf(store), batchOf(ids.toReversed(), "all"));
      expect(await store.receiptIds(["courses"], 0n, 100)).toEqual(ids);
      expect(await store.receiptIds(["courses"], 2n ** 53n + 1n, 1)).toEqual([2n ** 53n + 2n]);
    });
  });

  test("lists the receipts of the topics asked for, from where it is told, as many as it is told", async () => {
    await withStore(under, async (store) => {
      const receipts = [receipt(1n), receipt(2n, "policies"), receipt(3n, "other"), receipt(4n)];
      await store.commit(await leaseOf(store), { writes: [], receipts, cursor: "4" });
      expect(await store.receiptIds(["courses", "policies"], 0n, 100)).toEqual([1n, 2n, 4n]);
      expect(await store.receiptIds(["courses", "policies"], 1n, 1)).toEqual([2n]);
      expect(await store.receiptIds(["courses"], 4n, 100)).toEqual([]);
      expect(await store.receiptIds([], 0n, 100)).toEqual([]);
      expect(await store.receiptCount()).toBe(4);
    });
  });

  test("keeps the receipt of an event without a type", async () => {
    await withStore(under, async (store) => {
      const receipts = [{ eventId: 1n, topic: "courses", type: null }];
      await store.commit(await leaseOf(store), { writes: [], receipts, cursor: "1" });
      expect(await store.receiptIds(["courses"], 0n, 100)).toEqual([1n]);
    });
  });

  test("removes receipts that are old enough, however many, and no others", async () => {
    await withStore(under, async (store) => {
      const lease = await leaseOf(store);
      await store.commit(lease, batchOf(rangeOf(1n, 2_500), "after 2500"));
      expect(await store.expireReceipts(minuteMs)).toBe(0);
      expect(await store.receiptCount()).toBe(2_500);
      let removed = 0;
      const isEmpty = async (): Promise<boolean> => {
        removed += await store.expireReceipts(1);
        return (await store.receiptCount()) === 0;
      };
      await waitFor(isEmpty, { what: "all receipts to be a millisecond old" });
      expect(removed).toBe(2_500);
      expect(await store.cursor("consumer")).toBe("after 2500");
      expect(await store.document("courses", "course-1")).not.toBeNull();
    });
  });

  test("closes twice, and answers nothing after", async () => {
    await withStore(under, async (store) => {
      await store.close();
      await store.close();
      expect(await failureOf(store.cursor("consumer"))).toMatchObject({ code: "store_error" });
    });
  });
};
