//! A process that opens one new file after the other: `sqlite-opener.ts FOLDER COUNT`. Several of them race for each file.

import { join } from "node:path";

import { openSqliteStore } from "../../../src/adapters/sqlite/open-sqlite-store.ts";

const [folder = "", count = ""] = process.argv.slice(2);
for (let n = 0; n < Number(count); n += 1) {
  const store = openSqliteStore(`sqlite:${join(folder, `${n}.sqlite`)}`, { deadlineMs: 30_000 });
  await store.close();
}
