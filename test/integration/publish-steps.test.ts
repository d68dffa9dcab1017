//! What publish_batch() does in which order, and what goes wrong in any other.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import { caught } from "../support/migrator.ts";
import { openReadBench, publish, type ReadBench, roll, type Session } from "../support/read-bench.ts";
import { waitFor } from "../support/wait-for.ts";

let bench: ReadBench;
let a: Session;
let b: Session;
beforeEach(async () => {
  bench = await openReadBench();
  [a, b] = [bench.session(), bench.session()];
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

const separator = "\u001E";

interface Batch {
  readonly topics?: readonly string[];
  readonly data: readonly string[];
  readonly keys?: readonly string[];
  readonly publisher?: string;
  readonly number?: number;
}

/** Sent at once, whether or not anybody waits for the answer. */
const publishBatch = async (
  session: Session,
  { topics, data, keys, publisher, number }: Batch,
): Promise<bigint[]> => {
  const [row] = await session<{ ids: string }[]>`
    select pgstream.publish_batch(
      ${(topics ?? data.map(() => "t")).join(separator)}, ${data.join(separator)},
      idempotency_keys => ${keys?.join(separator) ?? null}, publisher => ${publisher ?? null}::text::uuid,
      batch => ${number ?? null}::bigint, notify => false)::text as ids`;
  return row?.ids.slice(1, -1).split(",").map(BigInt) ?? [];
};

/** Until the session waits for a lock that somebody holds. */
const untilItWaits = async (pid: number): Promise<void> => {
  const watcher = bench.session();
  await waitFor(
    async () =>
      (await watcher`select from pg_stat_activity where pid = ${pid} and wait_event_type = 'Lock'`).length >
      0,
    { what: "a publish that waits" },
  );
};

const pidOf = async (session: Session): Promise<number> =>
  (await session<{ pid: number }[]>`select pg_backend_pid() as pid`)[0]?.pid ?? 0;

/** Changes the text of a function in this test's own database. */
const plant = async (
  name: string,
  ...changes: readonly (readonly [from: string, to: string])[]
): Promise<void> => {
  const [row] = await a<{ source: string }[]>`
    select pg_get_functiondef(oid) as source from pg_proc
    where proname = ${name} and pronamespace = 'pgstream'::regnamespace`;
  let source = row?.source ?? "";
  for (const [from, to] of changes) {
    expect(source).toContain(from);
    source = source.replace(from, to);
  }
  await a.unsafe(source);
};

describe("a segment roll", () => {
  const acrossRoll = async (): Promise<unknown> => {
    await a`begin`;
    await publish(a);
    // Attached and rolled to while the transaction is open: this backend has seen the partitions as they were.
    for (let n = 0; n < 2; n += 1) {
      await roll(b);
      await publish(b);
    }
    const error = await caught(publish(a));
    await a`commit`;
    return error;
  };

  test("does not disturb an open transaction that publishes again", async () => {
    await publish(a);
    expect(await acrossRoll()).toBeNull();
    expect(await (await bench.reader()).read()).toEqual([1n, 2n, 1n << 32n, 2n << 32n, (2n << 32n) + 1n]);
  });

  test("would make it fail without a look at what happened to the partitions", async () => {
    await plant("publish_batch", [
      "refreshed := pg_relation_is_updatable('pgstream.catalog_refresh', false);",
      "",
    ]);
    await publish(a);
    expect(sqlstateOf(await acrossRoll())).toBe("23514"); // no partition for the row
  });

  test("never happens in the transaction that attached the segment, whether it commits or not", async () => {
    await publish(a);
    await roll(a);
    await publish(a);
    for (const end of ["rollback", "commit"]) {
      await a`begin`;
      await a`select pgstream.prepare_segments()`;
      expect(await a`select pgstream.roll_segment('0 s', 0) as rolled`).toMatchObject([{ rolled: false }]);
      await a.unsafe(end);
      expect(await publish(b)).toBeLessThan(2n << 32n);
    }
  });
});

describe("an id is drawn after every wait", () => {
  /** B repeats an idempotency key of A's open transaction, with an event of its own behind it. A publishes once more. */
  const waitForKey = async (): Promise<{
    delivered: readonly bigint[];
    kept: bigint;
    later: bigint;
    own: bigint;
  }> => {
    await a`begin`;
    const [kept = 0n] = await publishBatch(a, { data: ["1"], keys: ["k"] });
    const pid = await pidOf(b);
    const waiting = publishBatch(b, { data: ["1", "2"], keys: ["k", ""] });
    await untilItWaits(pid);
    const later = await publish(a);
    await a`commit`;
    const [same, own = 0n] = await waiting;
    expect(same).toBe(kept);
    return { delivered: await (await bench.reader()).read(), kept, later, own };
  };

  test("so who waited for an idempotency key comes behind everything of whom it waited for", async () => {
    const { delivered, kept, later, own } = await waitForKey();
    expect(delivered).toEqual([kept, later, own]);
  });

  test("and drawn before it, would come in front of what was there first", async () => {
    await plant(
      "publish_batch",
      [
        "if idempotency_keys <> '' then",
        "ids := array(select nextval('pgstream.event_ids') from generate_series(1, size)); if idempotency_keys <> '' then",
      ],
      [
        "then nextval('pgstream.event_ids') end from generate_series(1, size) n)",
        "then ids[n] end from generate_series(1, size) n)",
      ],
    );
    const { delivered, kept, later, own } = await waitForKey();
    expect(delivered).toEqual([kept, own, later]);
  });
});

test("a batch numbered 0 is nobody's repeat: a new publisher would be answered that it is there, without an id", async () => {
  const publisher = "6f1d2c3b-4a59-4687-8778-695a4b3c2d1e";
  for (const number of [0, -1, undefined]) {
    const refused = await caught(
      publishBatch(a, { data: ["1"], publisher, ...(number === undefined ? {} : { number }) }),
    );
    expect(sqlstateOf(refused)).toBe("PS006");
  }
  expect(await publishBatch(a, { data: ["1"], publisher, number: 1 })).toHaveLength(1);
});

test("what a session with synchronous_commit off publishes is on disk when it is visible", async () => {
  await a`set synchronous_commit = off`;
  for (let n = 0; n < 20; n += 1) {
    const [row] = await a<{ lsn: string }[]>`
      select pgstream.publish('t', '{}', notify => false), pg_current_wal_insert_lsn()::text as lsn`;
    const [flushed] = await a<{ is: boolean }[]>`
      select pg_current_wal_flush_lsn() >= ${row?.lsn ?? ""}::text::pg_lsn as is`;
    expect(flushed?.is).toBe(true);
  }
});
