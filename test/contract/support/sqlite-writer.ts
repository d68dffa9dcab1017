//! A process that commits 200 batches of one event each: `sqlite-writer.ts URL SUBSCRIPTION`.

import { openSqliteStore } from "../../../src/adapters/sqlite/open-sqlite-store.ts";
import { batchOf, leaseOf } from "./store-samples.ts";

const [url = "", subscription = ""] = process.argv.slice(2);
const store = openSqliteStore(url, { deadlineMs: 30_000 });
const lease = await leaseOf(store, subscription);
// The two write different events: their receipts must add up.
const first = subscription === "one" ? 0n : 1_000n;
for (let count = 1n; count <= 200n; count += 1n) {
  await store.commit(lease, batchOf([first + count], count.toString()));
}
await store.close();
