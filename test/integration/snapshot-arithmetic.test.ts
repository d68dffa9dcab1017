//! The arithmetic of cursors against PostgreSQL's own idea of what a snapshot sees, by brute force.

import { afterAll, beforeAll, expect, test } from "bun:test";

import type { PostgresClient } from "../../src/adapters/postgres/client.ts";
import { makeLog } from "../../src/adapters/postgres/read/log.ts";
import {
  covers,
  emptySnapshot,
  equals,
  formatSnapshot,
  isAhead,
  lateXids,
  makeSnapshot,
  meet,
  parseSnapshot,
  sees,
  type Snapshot,
  type Xid,
  xmin,
} from "../../src/core/snapshot.ts";
import { createLogDatabase, openTestClient } from "../support/log-database.ts";
import type { TestDatabase } from "../support/postgres.ts";
import { makeRandom, type Random } from "../support/seed.ts";

const first = 100n;
const universe: readonly Xid[] = Array.from({ length: 20 }, (_, n) => first + BigInt(n));

let database: TestDatabase;
let client: PostgresClient;
beforeAll(async () => {
  database = await createLogDatabase();
  client = openTestClient(database.url);
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

/** In PostgreSQL's text form and not in ours: its last transactions may all be running. */
const rawText = (random: Random): string => {
  const xmax = first + BigInt(random.integer(0, 17));
  const share = random.random();
  const xip = universe.filter((xid) => xid < xmax && random.chance(share));
  return `${xip[0] ?? xmax}:${xmax}:${xip.join(",")}`;
};

/** Per snapshot, which transactions of the universe PostgreSQL calls visible: one character each. */
const visibleTo = async (texts: readonly string[]): Promise<string[]> => {
  const rows = await client.run(
    (sql) => sql<{ visible: string }[]>`
      select (select string_agg(pg_visible_in_snapshot(x::text::xid8, s.snapshot::pg_snapshot)::integer::text, '' order by x)
              from generate_series(${first}::bigint, ${universe.at(-1) ?? 0n}::bigint) x) as visible
      from unnest(string_to_array(${texts.join(" ")}, ' ')) with ordinality s(snapshot, n) order by s.n`,
  );
  return rows.map((row) => row.visible);
};

const seenOf = (snapshot: Snapshot): string =>
  universe.map((xid) => (sees(snapshot, xid) ? "1" : "0")).join("");

test("a snapshot in canonical form sees, one transaction at a time, what PostgreSQL says it sees", async () => {
  const random = makeRandom("snapshots");
  const texts = Array.from({ length: 10_000 }, () => rawText(random));
  const snapshots = texts.map(parseSnapshot);
  const visible = await visibleTo(texts);
  expect(snapshots.map(seenOf)).toEqual(visible);
  // And PostgreSQL reads our form, which means the same to it.
  expect(await visibleTo(snapshots.map(formatSnapshot))).toEqual(visible);
  // Equal text if and only if the same is seen.
  expect(new Set(snapshots.map(formatSnapshot)).size).toBe(new Set(visible).size);
});

test("covers, ahead, equal, meet and late commits agree with what PostgreSQL calls visible in both", async () => {
  const random = makeRandom("pairs of snapshots");
  const texts = Array.from({ length: 2 * 20_000 }, () => rawText(random));
  const visible = await visibleTo(texts);
  for (let n = 0; n < texts.length; n += 2) {
    const [a, b] = [parseSnapshot(texts[n] ?? ""), parseSnapshot(texts[n + 1] ?? "")];
    const [inA, inB] = [visible[n] ?? "", visible[n + 1] ?? ""];
    const at = (bits: string, xid: Xid): boolean => bits[Number(xid - first)] === "1";
    const isCovered = universe.every((xid) => !at(inA, xid) || at(inB, xid));
    const expected = {
      covers: isCovered,
      isAhead: isCovered && inA !== inB,
      equals: inA === inB,
      meet: universe.map((xid) => (at(inA, xid) && at(inB, xid) ? "1" : "0")).join(""),
      // The rest of a window is found by `xid >= xmax(S)`: the two parts together are all of it, and share nothing.
      window: universe.filter((xid) => !at(inA, xid) && at(inB, xid)),
    };
    const main = universe.filter((xid) => xid >= a.xmax && xid < b.xmax && sees(b, xid));
    const actual = {
      covers: covers(b, a),
      isAhead: isAhead(b, a),
      equals: equals(a, b),
      meet: seenOf(meet(a, b)),
      window: [...lateXids(a, b), ...main],
    };
    if (!Bun.deepEquals(actual, expected)) {
      throw new Error(`${texts[n]} and ${texts[n + 1]}: ${Bun.inspect({ actual, expected })}`);
    }
  }
});

test("the tick that a look finds is the eighth one ahead, or the last, as the core means it", async () => {
  const random = makeRandom("ticks ahead");
  const log = makeLog(client);
  const { newest: epoch } = await log.epoch();
  let found = 0;
  for (let round = 0; round < 25; round += 1) {
    // A tick takes its snapshot first and its xid then, one tick after the other.
    const ticks: { xid: Xid; text: string }[] = [];
    for (let xid = first; xid < first + 20n; xid += BigInt(random.integer(1, 3))) {
      const text = rawText(random);
      if (parseSnapshot(text).xmax <= xid && BigInt(text.split(":")[1] ?? 0) <= xid)
        ticks.push({ xid, text });
    }
    await client.run((sql) => sql`delete from pgstream.ticks`);
    for (const { xid, text } of ticks) {
      await client.run(
        (sql) => sql`insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
          values (${epoch.number}, ${String(xid)}::text::xid8, ${text}::text::pg_snapshot, 0, 0, now())`,
      );
    }
    for (let n = 0; n < 12; n += 1) {
      const since =
        random.chance(0.3) && ticks.length > 0
          ? parseSnapshot(random.pick(ticks).text)
          : parseSnapshot(rawText(random));
      const look = await log.look({
        since,
        epoch,
        bound: 0n,
        topicsSince: emptySnapshot,
        expectsTick: false,
      });
      const ahead = ticks.map(({ text }) => parseSnapshot(text)).filter((tick) => isAhead(tick, since));
      const expected = ahead.slice(0, 8).at(-1);
      expect([formatSnapshot(since), look.tick]).toEqual([formatSnapshot(since), expected ?? null]);
      if (look.tick !== null) found += 1;
    }
  }
  expect(found).toBeGreaterThan(10);
});

test("snapshot_below takes everything from the bound on as not yet seen", async () => {
  const random = makeRandom("snapshot below");
  const cases = Array.from({ length: 5_000 }, () => ({
    text: rawText(random),
    bound: first + BigInt(random.integer(0, 20)),
  }));
  const rows = await client.run(
    (sql) => sql<{ below: string }[]>`
      select pgstream.snapshot_below(split_part(s.it, '/', 1)::pg_snapshot, split_part(s.it, '/', 2)::xid8)::text as below
      from unnest(string_to_array(${cases.map((it) => `${it.text}/${it.bound}`).join(" ")}, ' ')) with ordinality s(it, n)
      order by s.n`,
  );
  for (const [n, { text, bound }] of cases.entries()) {
    const snapshot = parseSnapshot(text);
    const below = parseSnapshot(rows[n]?.below ?? "");
    const expected = makeSnapshot(bound < snapshot.xmax ? bound : snapshot.xmax, snapshot.xip);
    expect([text, bound, below]).toEqual([text, bound, expected]);
    expect(xmin(below)).toBeLessThanOrEqual(bound);
  }
});
