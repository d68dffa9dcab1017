//! What goes wrong between transaction ids, event ids and the order of commits: each case alone, named after its trap.
//! All of them at once are in fault.test.ts.

import { describe, expect, test } from "bun:test";

import { decodeCursor } from "../../src/core/cursor-codec.ts";
import type { PageRequest } from "../../src/core/log.ts";
import { parseTopicPatterns } from "../../src/core/topic.ts";
import { sequenceShortCut } from "../support/fault/planted.ts";
import { openReadBench, publish, publishMany, takeXid } from "../support/read-bench.ts";

/** A bench with sessions a, b and c. */
const setup = async () => {
  const bench = await openReadBench();
  return { bench, a: bench.session(), b: bench.session(), c: bench.session() };
};

describe("what commits late is not lost", () => {
  test("mistake 1: a low id that commits after a higher one was read", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    await a`begin`;
    const low = await publish(a);
    const high = await publish(b);
    expect(low).toBeLessThan(high);
    const reader = await bench.reader();
    expect(await reader.read()).toEqual([high]);
    await a`commit`;
    expect(await reader.read()).toEqual([low]);
  });

  test("a low xid with a high id, whose transaction took its xid before everybody else's", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    await a`begin`;
    await takeXid(a);
    const first = await publish(b);
    const reader = await bench.reader();
    expect(await reader.read()).toEqual([first]);
    const second = await publish(a);
    expect(await reader.read()).toEqual([]);
    await a`commit`;
    expect(await reader.read()).toEqual([second]);
  });

  test("a transaction whose xid is not below the snapshot's xmax, so that no list of running ones names it", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    await a`begin`;
    const xid = await takeXid(a);
    const [row] = await bench.session()<{ xmax: string; running: number }[]>`
      select pg_snapshot_xmax(pg_current_snapshot())::text as xmax,
        (select count(*)::integer from pg_snapshot_xip(pg_current_snapshot())) as running`;
    expect(row).toEqual({ xmax: String(xid), running: 0 });
    const id = await publish(a);
    const reader = await bench.reader();
    expect(await reader.read()).toEqual([]);
    await a`commit`;
    expect(await reader.read()).toEqual([id]);
  });

  test("an id drawn before anything else happened, by a transaction that commits when the sequence stands still", async () => {
    const { bench, a, b, c } = await setup();
    await using _ = bench;
    const hasty = await bench.reader({ log: sequenceShortCut(bench.log, c) });
    const reader = await bench.reader();
    await b`begin`;
    const first = await publish(b);
    await a`begin`;
    const second = await publish(a); // its xid is the next after b's, and nobody's snapshot names it
    await b`commit`;
    expect(await reader.read()).toEqual([first]);
    expect(await hasty.read()).toEqual([first]);
    await a`commit`;
    expect(await reader.read()).toEqual([second]);
    // The short cut "no id was handed out and nobody runs, so there is nothing to read" never sees it.
    expect(await hasty.read()).toEqual([]);
  });

  test("many of them, one by one, while others go on", async () => {
    const { bench, b } = await setup();
    await using _ = bench;
    const reader = await bench.reader();
    const open = Array.from({ length: 5 }, () => bench.session());
    const ids: bigint[] = [];
    for (const session of open) {
      await session`begin`;
      ids.push(await publish(session));
    }
    for (const at of [3, 0, 4, 1, 2]) {
      const other = await publish(b);
      await open[at]?.unsafe("commit");
      expect(await reader.read()).toEqual([ids[at] ?? 0n, other]);
    }
    expect(await reader.read()).toEqual([]);
  });
});

describe("the order inside a window is that of ids", () => {
  test("not of xids: the one with the higher xid wrote first", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    await a`begin`;
    await takeXid(a);
    const first = await publish(b);
    const second = await publish(a);
    await a`commit`;
    expect(await (await bench.reader()).read()).toEqual([first, second]);
  });

  test("which is that of a row lock: who waited for it comes later, though its xid is lower", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    await b`create table counters (n integer)`;
    await b`insert into counters values (0)`;
    await a`begin`;
    await takeXid(a);
    await b`begin`;
    await b`update counters set n = n + 1`;
    const waiting = a`update counters set n = n + 1`.execute();
    const first = await publish(b);
    await b`commit`;
    await waiting;
    const second = await publish(a);
    await a`commit`;
    expect(await (await bench.reader()).read()).toEqual([first, second]);
  });

  test("as numbers, not as text: 9 comes before 10", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    for (let n = 0; n < 12; n += 1) await publish(a);
    const ids = Array.from({ length: 12 }, (_, n) => BigInt(n + 1));
    expect(await (await bench.reader()).read()).toEqual(ids);
    expect(await (await bench.reader({ pageEventsMax: 5, batchEventsMax: 2 })).read()).toEqual(ids);
  });
});

describe("what never was is not waited for", () => {
  test("the holes of a rollback mean nothing", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const before = await publish(a);
    await a`begin`;
    await publishMany(a, 20);
    await a`rollback`;
    const after = await publish(a);
    expect(await (await bench.reader()).read()).toEqual([before, after]);
    expect(after).toBe(before + 21n);
  });

  test("a savepoint rolled back takes its events along, the rest of its transaction comes", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    await a`begin`;
    const kept = [await publish(a)];
    await a`savepoint one`;
    await publish(a);
    await a`rollback to savepoint one`;
    await a`savepoint two`;
    kept.push(await publish(a));
    await a`release savepoint two`;
    const reader = await bench.reader();
    expect(await reader.read()).toEqual([]);
    await a`commit`;
    expect(await reader.read()).toEqual(kept);
  });

  test("all events of a transaction become visible together, between those of others", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    await a`begin`;
    const own = [await publish(a)];
    const others = [await publish(b)];
    own.push(...(await publishMany(a, 3)));
    others.push(await publish(b));
    own.push(await publish(a));
    const reader = await bench.reader();
    expect(await reader.read()).toEqual(others);
    await a`commit`;
    expect(await reader.read()).toEqual(own);
  });
});

describe("a reader that stopped in the middle of a window", () => {
  test("goes on from its cursor's text, wherever it stopped", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    for (let n = 0; n < 20; n += 1) await publish(a);
    const all = await (await bench.reader()).read();
    for (let stopAt = 1; stopAt < 7; stopAt += 1) {
      const first = await bench.reader({ batchEventsMax: 3, pageEventsMax: 7 });
      const before = await first.read(stopAt);
      const second = await bench.reader({ stored: first.cursor() });
      expect([...before, ...(await second.read())]).toEqual([...all]);
    }
  });

  test("gets what commits late meanwhile after the window, not instead of it, and each once", async () => {
    const { bench, a, b, c } = await setup();
    await using _ = bench;
    await a`begin`;
    const late = [await publish(a)];
    const ids = [...(await publishMany(b, 10))];
    const reader = await bench.reader({ batchEventsMax: 2, pageEventsMax: 4 });
    const before = await reader.read(3);
    expect(before).toEqual(ids.slice(0, 6));
    expect(decodeCursor(reader.cursor()).window).not.toBeNull();
    // Below and above where it stands, all while it is down.
    await c`begin`;
    const later = await publish(c);
    late.push(await publish(a));
    await a`commit`;
    const new_ = await publish(b);
    await c`commit`;
    const resumed = await bench.reader({ stored: reader.cursor(), batchEventsMax: 3, pageEventsMax: 3 });
    expect(await resumed.read()).toEqual([...ids.slice(6), late[0] ?? 0n, later, late[1] ?? 0n, new_]);
  });

  test("in the middle of late commits reads the rest of them and then the window's main part", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    await a`begin`;
    const late = await publishMany(a, 6);
    const between = await publishMany(b, 6);
    const reader = await bench.reader({ batchEventsMax: 2, pageEventsMax: 4 });
    expect(await reader.read()).toEqual(between);
    await a`commit`;
    const main = await publishMany(b, 6);
    expect(await reader.read(2)).toEqual(late.slice(0, 4));
    const resumed = await bench.reader({ stored: reader.cursor(), batchEventsMax: 3, pageEventsMax: 3 });
    expect(await resumed.read()).toEqual([...late.slice(4), ...main]);
  });
});

describe("topics", () => {
  test("that are made later are read by whom they match, from their first event on", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const readers = await Promise.all(
      [">", "new.*", "new.one", "other"].map(
        async (pattern) => await bench.reader({ filter: parseTopicPatterns([pattern]) }),
      ),
    );
    for (const reader of readers) expect(await reader.read()).toEqual([]);
    const one = await publish(a, "new.one");
    const two = await publish(a, "new.two");
    const read = await Promise.all(readers.map(async (reader) => await reader.read()));
    expect(read).toEqual([[one, two], [one, two], [one], []]);
  });

  test("whose transaction commits after that of a topic with a greater number are read all the same", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    const all = await bench.reader();
    const some = await bench.reader({ filter: parseTopicPatterns(["new.*"]) });
    expect([await all.read(), await some.read()]).toEqual([[], []]);
    await a`begin`;
    const slow = await publish(a, "new.slow");
    const quick = await publish(b, "new.quick");
    expect([await all.read(), await some.read()]).toEqual([[quick], [quick]]);
    await a`commit`;
    expect([await all.read(), await some.read()]).toEqual([[slow], [slow]]);
  });

  test("made and used in the middle of a page's way are known when the page is handed over", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    await publish(a);
    let made = 0n;
    const log = {
      ...bench.log,
      // Behind the look that opened the window, in front of the page that reads it.
      firstPage: async (request: PageRequest) => {
        if (made === 0n) made = await publish(a, "new.topic");
        return await bench.log.firstPage(request);
      },
    };
    const reader = await bench.reader({ log });
    expect(await reader.read()).toEqual([1n, made]);
  });

  test("can be many, few of them wanted: a page holds the wanted events, and the cursor moves past the others", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const reader = await bench.reader({
      filter: parseTopicPatterns(["rare"]),
      pageEventsMax: 2,
      batchEventsMax: 1,
    });
    const rare: bigint[] = [];
    for (let n = 0; n < 5; n += 1) {
      await publishMany(a, 20);
      rare.push(await publish(a, "rare"));
    }
    await publishMany(a, 20);
    expect(await reader.read()).toEqual(rare);
    expect(decodeCursor(reader.cursor()).window).toBeNull();
  });
});
