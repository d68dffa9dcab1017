//! publish() and publish_batch() as any language calls them: what is answered twice, whom they wait for, and in which
//! transactions. What they refuse is in publish-refused.test.ts, the outbox and its hints in notify.test.ts.

import { describe, expect, test } from "bun:test";

import { becomeAnotherServer } from "../support/log-database.ts";
import { publishColumns, publishDraft, rowsOf, stateOf, type Draft } from "../support/publish-sql.ts";
import { openReadBench, roll, publish, type ReadBench, type Session } from "../support/read-bench.ts";
import { waitFor } from "../support/wait-for.ts";

/** A bench with sessions a and b. */
const setup = async () => {
  const bench = await openReadBench();
  return { bench, a: bench.session(), b: bench.session() };
};

const storedIds = async (session: Session): Promise<readonly bigint[]> => {
  const rows = await session<{ id: string }[]>`select e.id::text as id from pgstream.events e order by e.id`;
  return rows.map(({ id }) => BigInt(id));
};

const pidOf = async (session: Session): Promise<number> => {
  const [row] = await session<{ pid: number }[]>`select pg_backend_pid() as pid`;
  return row?.pid ?? 0;
};

/** Waits until the session of that pid waits for another one. */
const isBlocked = async ({ client }: ReadBench, pid: number): Promise<void> => {
  await waitFor(
    async () => {
      const [row] = await client.run(
        (sql) => sql<{ blocked: boolean }[]>`select cardinality(pg_blocking_pids(${pid})) > 0 as blocked`,
      );
      return row?.blocked;
    },
    { what: "a publish to wait for another one" },
  );
};

describe("an idempotency key", () => {
  test("used by 20 sessions at once is published once, and all get its id", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const sessions = Array.from({ length: 20 }, () => bench.session());
    const ids = await Promise.all(
      sessions.map(async (it) => await publishDraft(it, { idempotencyKey: "k" })),
    );
    expect(new Set(ids).size).toBe(1);
    expect(await storedIds(a)).toEqual(ids.slice(0, 1));
    expect(await publishDraft(a, { idempotencyKey: "k" })).toBe(ids[0] ?? 0n);
  });

  test("may have 2,048 bytes, whatever they are: so many fit into the index", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const idempotencyKey = Array.from({ length: 512 }, (_, n) =>
      String.fromCodePoint(0x1_0000 + n * 37),
    ).join("");
    const id = await publishDraft(a, { idempotencyKey });
    expect(await publishDraft(a, { idempotencyKey })).toBe(id);
  });

  test("with other data, key, type or headers is refused", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const draft = { data: '{"a":1}', key: "x", type: "T", headers: '{"h":"1"}', idempotencyKey: "k" };
    const id = await publishDraft(a, draft);
    await publishDraft(a, { key: "x", idempotencyKey: "only a key" });
    const before = await rowsOf(a);
    const others: Draft[] = [
      { ...draft, data: '{"a": 1}' },
      { ...draft, key: "y" },
      { ...draft, type: "U" },
      { ...draft, headers: '{"h":"2"}' },
      // The same text, one column further.
      { type: "x", idempotencyKey: "only a key" },
    ];
    for (const other of others) expect(await stateOf(publishDraft(a, other))).toBe("PS005");
    expect(await rowsOf(a)).toEqual(before);
    expect(await publishDraft(a, draft)).toBe(id);
  });

  test("twice in one batch is one event with one id, and with other content refuses the whole batch", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const old = await publishDraft(a, { idempotencyKey: "old" });
    const ids = await publishColumns(a, {
      topics: ["t", "t", "t", "t", "t"],
      idempotencyKeys: ["k", "", "old", "k", "old"],
    });
    const [first = 0n, second = 0n] = ids;
    expect(ids).toEqual([first, second, old, first, old]);
    expect(await storedIds(a)).toEqual([old, first, second]);
    const before = await rowsOf(a);
    const conflicting = { topics: ["t", "t"], data: ["1", "2"], idempotencyKeys: ["n", "n"] };
    expect(await stateOf(publishColumns(a, conflicting))).toBe("PS005");
    expect(await rowsOf(a)).toEqual(before);
  });

  test("is of its topic alone", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const ids = [
      await publishDraft(a, { topic: "one", idempotencyKey: "k" }),
      await publishDraft(a, { topic: "two", data: "2", idempotencyKey: "k" }),
    ];
    expect(await storedIds(a)).toEqual(ids);
    expect([
      await publishDraft(a, { topic: "one", idempotencyKey: "k" }),
      await publishDraft(a, { topic: "two", data: "2", idempotencyKey: "k" }),
    ]).toEqual(ids);
  });

  test("twice in one transaction is one event; rolled back to a savepoint it is free again", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    await a`begin`;
    const id = await publishDraft(a, { idempotencyKey: "k" });
    expect(await publishDraft(a, { idempotencyKey: "k" })).toBe(id);
    await a`savepoint s`;
    const gone = await publishDraft(a, { idempotencyKey: "l" });
    await a`rollback to savepoint s`;
    const again = await publishDraft(a, { data: "2", idempotencyKey: "l" });
    expect(again).toBeGreaterThan(gone);
    await a`commit`;
    expect(await storedIds(a)).toEqual([id, again]);
  });

  test("held by an open transaction is waited for: a commit gives its id, a rollback leaves the key to who waited", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    const pid = await pidOf(b);
    const whileHeld = async (end: "commit" | "rollback", key: string) => {
      await a`begin`;
      const held = await publishDraft(a, { idempotencyKey: key });
      const waiting = publishDraft(b, { idempotencyKey: key });
      await isBlocked(bench, pid);
      await a.unsafe(end);
      return { held, answer: await waiting };
    };
    const committed = await whileHeld("commit", "k");
    expect(committed.answer).toBe(committed.held);
    const rolledBack = await whileHeld("rollback", "l");
    expect(rolledBack.answer).toBeGreaterThan(rolledBack.held);
    expect(await storedIds(a)).toEqual([committed.held, rolledBack.answer]);
  });

  test("of two batches in opposite orders never makes them wait for each other in a circle", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    const keys = Array.from({ length: 200 }, (_, n) => `k${n}`);
    const topics = keys.map(() => "t");
    for (let round = 0; round < 5; round += 1) {
      const own = keys.map((key) => `${round}.${key}`);
      const [forth, back] = await Promise.all([
        publishColumns(a, { topics, idempotencyKeys: own }),
        publishColumns(b, { topics, idempotencyKeys: own.toReversed() }),
      ]);
      expect(back.toReversed()).toEqual([...forth]);
    }
    expect(await storedIds(a)).toHaveLength(1_000);
  });
});

const publisher = "6e0f3a52-9a8f-4d53-8f4b-3a6f5f0c2a11";

describe("a publisher's batch", () => {
  test("repeated gets the ids of the first time and publishes nothing", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    const first = { topics: ["t", "u"], publisher, batch: 1 };
    const ids = await publishColumns(a, first);
    expect(await publishColumns(b, first)).toEqual(ids);
    const more = await publishColumns(b, { ...first, batch: 2 });
    expect(await publishColumns(a, { ...first, batch: 2 })).toEqual(more);
    expect(await storedIds(a)).toEqual([...ids, ...more]);
  });

  test("repeated with idempotency keys gets the originals too", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const old = await publishDraft(a, { idempotencyKey: "old" });
    const batch = { topics: ["t", "t", "t"], idempotencyKeys: ["old", "k", "k"], publisher, batch: 1 };
    const ids = await publishColumns(a, batch);
    expect(ids).toEqual([old, ids[1] ?? 0n, ids[1] ?? 0n]);
    expect(await publishColumns(a, batch)).toEqual(ids);
  });

  test("repeated while the first is still on its way waits for it: for its ids, or to be the first itself", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    const pid = await pidOf(b);
    const repeatedUntil = async (end: "commit" | "rollback", batch: number) => {
      const columns = { topics: ["t", "t"], publisher, batch };
      await a`begin`;
      const first = await publishColumns(a, columns);
      const repeating = publishColumns(b, columns);
      await isBlocked(bench, pid);
      await a.unsafe(end);
      return { first, repeat: await repeating };
    };
    const rolledBack = await repeatedUntil("rollback", 1);
    expect(rolledBack.repeat).not.toEqual(rolledBack.first);
    const committed = await repeatedUntil("commit", 2);
    expect(committed.repeat).toEqual(committed.first);
    expect(await storedIds(a)).toEqual([...rolledBack.repeat, ...committed.first]);
  });

  test("whose ids cannot be told any more is refused: when something else was in its transaction, or some of it is gone", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    await a`begin`;
    await publishColumns(a, { publisher, batch: 1 });
    await publishDraft(a, {});
    await a`commit`;
    expect(await stateOf(publishColumns(a, { publisher, batch: 1 }))).toBe("PS006");
    const batch = { topics: ["t", "t"], publisher, batch: 2 };
    const [first = 0n] = await publishColumns(a, batch);
    await a`delete from pgstream.events where id = ${String(first)}`;
    const before = await rowsOf(a);
    expect(await stateOf(publishColumns(a, batch))).toBe("PS006");
    expect(await rowsOf(a)).toEqual(before);
    expect(await publishColumns(a, { ...batch, batch: 3 })).toHaveLength(2);
  });

  test("is found again without locking every segment", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    for (let n = 0; n < 4; n += 1) {
      await publishDraft(a, {});
      await a`select pgstream.tick()`;
      await roll(a);
    }
    await a`select pgstream.tick()`;
    const ids = await publishColumns(a, { publisher, batch: 1 });
    await a`begin`;
    expect(await publishColumns(a, { publisher, batch: 1 })).toEqual(ids);
    const locked = await a`
      select c.relname from pg_locks l join pg_class c on c.oid = l.relation
      where l.pid = pg_backend_pid() and c.relname ~ '^events_[0-2](_|$)'`;
    await a`commit`;
    expect([...locked]).toEqual([]);
  });

  test("is found again after a restore, where ticks have small xids again, and large ids", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const ids = await publishColumns(a, { publisher, batch: 1 });
    await becomeAnotherServer(a);
    await publish(a);
    await a`
      insert into pgstream.ticks (epoch, xid, snapshot, last_id, top_id, at)
      select 2, '3', '3:3:', last_value, last_value, clock_timestamp() from pgstream.event_ids`;
    expect(await publishColumns(a, { publisher, batch: 1 })).toEqual(ids);
  });

  test("that is repeated is not refused for what was allowed when it was published", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const batch = { data: [JSON.stringify("x".repeat(100))], publisher, batch: 1 };
    const ids = await publishColumns(a, batch);
    await a`update pgstream.settings set event_bytes_max = 10, create_topics = false`;
    expect(await publishColumns(a, batch)).toEqual(ids);
    expect(await stateOf(publishColumns(a, { ...batch, batch: 2 }))).toBe("PS004");
  });

  test("that cannot be placed is refused: one left out, one long past, a publisher that was forgotten", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    await publishColumns(a, { publisher, batch: 1 });
    await publishColumns(a, { publisher, batch: 2 });
    const before = await rowsOf(a);
    for (const batch of [1, 4, 0, -1]) {
      expect(await stateOf(publishColumns(a, { topics: ["new"], publisher, batch }))).toBe("PS006");
    }
    expect(await stateOf(publishColumns(a, { topics: ["new"], publisher }))).toBe("PS006");
    expect(await rowsOf(a)).toEqual(before);
    await a`delete from pgstream.publishers`;
    const forgotten = await rowsOf(a);
    for (const batch of [2, 3]) {
      expect(await stateOf(publishColumns(a, { publisher, batch }))).toBe("PS006");
    }
    expect(await rowsOf(a)).toEqual(forgotten);
  });
});

describe("a caller's transaction", () => {
  test("with synchronous_commit off is raised to on, this one and no other; a weaker promise that is kept is left alone", async () => {
    const { bench, a } = await setup();
    await using _ = bench;
    const setting = async (): Promise<unknown> =>
      (await a`show synchronous_commit`)[0]?.["synchronous_commit"];
    await a`set synchronous_commit = off`;
    await a`begin`;
    await publish(a);
    expect(await setting()).toBe("on");
    await a`commit`;
    expect(await setting()).toBe("off");
    await a`begin`;
    await a`savepoint s`;
    await publish(a);
    await a`release savepoint s`;
    expect(await setting()).toBe("on");
    await a`commit`;
    await a`set synchronous_commit = local`;
    await a`begin`;
    await publish(a);
    expect(await setting()).toBe("local");
    await a`commit`;
  });

  test("may be REPEATABLE READ or SERIALIZABLE", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    const ids: bigint[] = [];
    for (const level of ["repeatable read", "serializable"]) {
      await a.unsafe(`begin isolation level ${level}`);
      await b.unsafe(`begin isolation level ${level}`);
      ids.push(await publishDraft(a, { idempotencyKey: `a ${level}` }), await publishDraft(b, {}));
      ids.push(await publishDraft(a, { topic: `t.${level.replace(" ", "-")}` }));
      await b`commit`;
      await a`commit`;
    }
    expect(await (await bench.reader()).read()).toHaveLength(ids.length);
    expect(await storedIds(a)).toEqual(ids);
  });

  test("that cannot see the topic, the key or the publisher of another one fails to serialise, and loses nothing in silence", async () => {
    const { bench, a, b } = await setup();
    await using _ = bench;
    await publishColumns(b, { publisher, batch: 1 });
    const calls: readonly (readonly [string, (session: Session) => Promise<unknown>])[] = [
      ["a new topic", async (session) => await publishDraft(session, { topic: "new" })],
      ["a key", async (session) => await publishDraft(session, { idempotencyKey: "k" })],
      ["a batch", async (session) => await publishColumns(session, { publisher, batch: 2 })],
    ];
    for (const [what, call] of calls) {
      await a`begin isolation level repeatable read`;
      await a`select count(*) from pgstream.topics`;
      await call(b);
      expect([what, await stateOf(call(a))]).toEqual([what, "40001"]);
      await a`rollback`;
    }
    expect(await storedIds(a)).toHaveLength(4);
  });
});

test("a key that was forgotten after the caller's snapshot is new, and the other events keep their ids", async () => {
  const { bench, a, b } = await setup();
  await using _ = bench;
  const keyed = { data: "1", idempotencyKey: "old" };
  const batch = { topics: ["t", "t"], data: ["1", "2"], idempotencyKeys: ["old", "new"] };
  await publishDraft(b, keyed);
  for (const level of ["repeatable read", "serializable"]) {
    await a.unsafe(`begin isolation level ${level}`);
    await a`select count(*) from pgstream.idempotency_keys`;
    await b`delete from pgstream.idempotency_keys`;
    // Both rows of the key are in its snapshot, the one that is gone and its own: to settle that one is a conflict.
    expect(await stateOf(publishColumns(a, batch))).toBe("40001");
    await a`rollback`;
    await publishDraft(b, keyed);
  }
  const [known = 0n, fresh = 0n] = await publishColumns(a, batch);
  expect((await storedIds(a)).slice(-2)).toEqual([known, fresh]);
});

test("JSON keeps its bytes: numbers beyond 2^53, the order of names, names given twice, spaces", async () => {
  const { bench, a } = await setup();
  await using _ = bench;
  const texts = [
    '{ "b" : 9007199254740993,\n\t"a":1.0, "a":1e400 }',
    "9007199254740993",
    ' "\\u00e9\u00E9\\/" ',
    '{"deep":[[[[null]]]]}',
  ];
  for (const text of texts) await publishDraft(a, { data: text, headers: '{"z":"1",  "a":"2"}' });
  await publishColumns(a, { topics: texts.map(() => "t"), data: texts });
  const rows = await a<{ data: string; headers: string | null }[]>`
    select e.data::text as data, e.headers::text as headers from pgstream.events e order by e.id`;
  expect(rows.map(({ data }) => data)).toEqual([...texts, ...texts]);
  expect(rows[0]?.headers).toBe('{"z":"1",  "a":"2"}');
});
