//! Where a new subscription starts, over a model of the log; what PostgreSQL answers is tested in test/integration/starts.test.ts.

import { expect, test } from "bun:test";

import type { From } from "../../../src/core/read/start.ts";
import { startCursor } from "../../../src/core/read/start.ts";
import { makeSnapshot } from "../../../src/core/snapshot.ts";
import { makeFakeLog } from "./fake-log.ts";

/** Its last transactions wrote nothing: a crash may take them back. */
const makeLog = () => {
  const database = makeFakeLog();
  for (let n = 0; n < 3; n += 1) database.publish("a");
  const flushed = database.current();
  for (let n = 0; n < 5; n += 1) database.begin().commit();
  const start = async (from: From) => await startCursor(database.log, database.newestEpoch(), from);
  return { database, flushed, start };
};

test("no start claims to have seen what a crash could take back", async () => {
  const { flushed, start } = makeLog();
  expect(await start({ kind: "latest" })).toMatchObject({ seen: flushed, window: null });
  expect(await start({ kind: "id", id: 3n })).toMatchObject({ window: { until: flushed, after: 2n } });
});

test("nor does the earliest behind what retention has emptied", async () => {
  const { database, flushed, start } = makeLog();
  const floor = { segments: { snapshot: makeSnapshot(101n, []), lastId: 1n }, purge: 4n };
  Object.assign(database.log.starts, { floor: async () => await Promise.resolve(floor) });
  expect(await start({ kind: "earliest" })).toMatchObject({
    purge: 4n,
    window: { until: flushed, after: 1n },
  });
});

test("whoever is new knows of every purge that was before it", async () => {
  const { database, start } = makeLog();
  database.purge("a", 2n);
  for (const from of [
    { kind: "earliest" },
    { kind: "latest" },
    { kind: "id", id: 3n },
    { kind: "time", at: new Date() },
  ] as const) {
    expect([from.kind, (await start(from)).purge]).toEqual([from.kind, 1n]);
  }
});

test("a time or the latest, above what retention has emptied, is no place in the window behind that", async () => {
  const { database, start } = makeLog();
  database.tick();
  const floor = { segments: { snapshot: makeSnapshot(101n, []), lastId: 1n }, purge: 4n };
  Object.assign(database.log.starts, { floor: async () => await Promise.resolve(floor) });
  for (const from of [{ kind: "latest" }, { kind: "time", at: new Date() }] as const) {
    expect(await start(from)).toMatchObject({ purge: 4n, seen: database.ticks[0]?.snapshot, window: null });
  }
});
