//! What publish() and publish_batch() refuse: each mistake has its SQLSTATE and one line, and leaves nothing behind.

import { describe, expect, test } from "bun:test";

import postgres from "postgres";

import { migrate } from "../support/log-database.ts";
import { connect } from "../support/migrator.ts";
import { createTestDatabase } from "../support/postgres.ts";
import {
  type Columns,
  type Draft,
  publishColumns,
  publishDraft,
  rowsOf,
  stateOf,
} from "../support/publish-sql.ts";
import { openReadBench, publish, type Session } from "../support/read-bench.ts";

const publisher = "6e0f3a52-9a8f-4d53-8f4b-3a6f5f0c2a11";

describe("what is wrong is refused, and leaves nothing behind", () => {
  const long = "x".repeat(1_025);
  /** So many characters of four bytes, of which no two follow each other twice: an index could not make them shorter. */
  const wide = (length: number): string =>
    Array.from({ length }, (_, n) => String.fromCodePoint(0x1_0000 + n * 37)).join("");
  const drafts: Readonly<Record<string, readonly [string, Draft]>> = {
    "no topic": ["PS001", { topic: null }],
    "no data": ["PS001", { topic: "new", data: null }],
    "data that are not JSON": ["22P02", { topic: "new", data: "{" }],
    "an empty topic": ["PS001", { topic: "" }],
    "an empty key": ["PS001", { topic: "new", key: "" }],
    "an empty type": ["PS001", { topic: "new", type: "" }],
    "an empty idempotency key": ["PS001", { topic: "new", idempotencyKey: "" }],
    "a separator in the topic": ["PS001", { topic: "new\u001Eother" }],
    "a separator in the key": ["PS001", { topic: "new", key: "a\u001Eb" }],
    "a line break in the topic": ["PS001", { topic: "new\n" }],
    "a line break in the key": ["PS001", { topic: "new", key: "a\nb" }],
    "a tab in the type": ["PS001", { topic: "new", type: "a\tb" }],
    "a delete character in the idempotency key": ["PS001", { topic: "new", idempotencyKey: "a\u007F" }],
    "a key of 1,025 characters": ["PS001", { topic: "new", key: long }],
    "a type of 1,025 characters": ["PS001", { topic: "new", type: long }],
    "an idempotency key of 1,025 characters": ["PS001", { topic: "new", idempotencyKey: long }],
    "an idempotency key of 1,024 characters with four bytes each": [
      "PS001",
      { topic: "new", idempotencyKey: wide(1_024) },
    ],
    "an idempotency key of 2,052 bytes": ["PS001", { topic: "new", idempotencyKey: wide(513) }],
    "headers that are no object": ["PS001", { topic: "new", headers: "[1]" }],
    "headers that are null": ["PS001", { topic: "new", headers: "null" }],
    "a header that is no text": ["PS001", { topic: "new", headers: '{"a":"b","n":1}' }],
    "a blank in the topic": ["PS002", { topic: "a b" }],
    "a letter with an accent in the topic": ["PS002", { topic: "caf\u00E9" }],
    "an empty token": ["PS002", { topic: "a..b" }],
    "a dot at the start": ["PS002", { topic: ".a" }],
    "a dot at the end": ["PS002", { topic: "a." }],
    "a wildcard": ["PS002", { topic: "a.*" }],
    "a comma, which separates the names in a hint": ["PS002", { topic: "a,b" }],
    "a topic of 250 characters": ["PS002", { topic: "x".repeat(250) }],
  };
  const batches: Readonly<Record<string, readonly [string, Columns]>> = {
    "no topics": ["PS001", { topics: null, data: ["1"] }],
    "no events": ["PS001", { topics: [], data: [] }],
    "no data": ["PS001", { topics: ["new"], data: null }],
    "fewer data than topics": ["PS001", { topics: ["new", "new"], data: ["1"] }],
    "more keys than events": ["PS001", { topics: ["new"], keys: ["a", "b"] }],
    "fewer types than events": ["PS001", { topics: ["new", "new"], types: ["a"] }],
    "fewer headers than events": ["PS001", { topics: ["new", "new"], headers: ["{}"] }],
    "fewer idempotency keys than events": ["PS001", { topics: ["new", "new"], idempotencyKeys: ["a"] }],
    "an empty topic among others": ["PS002", { topics: ["new", ""] }],
    "a wrong topic among others": ["PS002", { topics: ["new", "a b"] }],
    "data that are not JSON": ["22P02", { topics: ["new", "new"], data: ["{}", "{"] }],
    "data that are left out": ["22P02", { topics: ["new", "new"], data: ["{}", ""] }],
    "headers that are not JSON": ["PS001", { topics: ["new"], headers: ["{"] }],
    "headers that are no object": ["PS001", { topics: ["new"], headers: ["1"] }],
    "a control character in a key": ["PS001", { topics: ["new"], keys: ["a\u0001"] }],
    "a key of 1,025 characters": ["PS001", { topics: ["new"], keys: [long] }],
  };

  const refusesDrafts = async (session: Session): Promise<void> => {
    const before = await rowsOf(session);
    for (const [what, [state, draft]] of Object.entries(drafts)) {
      expect([what, await stateOf(publishDraft(session, draft))]).toEqual([what, state]);
      expect([what, await rowsOf(session)]).toEqual([what, before]);
    }
  };

  test("by publish()", async () => {
    await using bench = await openReadBench();
    await refusesDrafts(bench.session());
  });

  test("by publish(), in a database where a backslash escapes in every string", async () => {
    await using database = await createTestDatabase();
    await using owner = connect(database.url);
    await owner.unsafe(`alter database ${database.name} set standard_conforming_strings to off`);
    await migrate(database.url);
    const warnings: string[] = [];
    const session = postgres(database.url, {
      max: 1,
      onnotice: ({ message = "" }) => void warnings.push(message),
    });
    await refusesDrafts(session);
    expect(await publishDraft(session, { topic: "a.b" })).toBeGreaterThan(0n);
    expect(await stateOf(session`insert into pgstream.topics (name) values ('a b')`)).toBe("23514");
    expect(warnings).toEqual([]);
    await session.end();
  });

  test("by publish_batch(), the good events of the batch too", async () => {
    await using bench = await openReadBench();
    const a = bench.session();
    const before = await rowsOf(a);
    for (const [what, [state, columns]] of Object.entries(batches)) {
      const call = publishColumns(a, { ...columns, publisher, batch: 1 });
      expect([what, await stateOf(call)]).toEqual([what, state]);
      expect([what, await rowsOf(a)]).toEqual([what, before]);
    }
    expect(await publishColumns(a, { publisher, batch: 1 })).toHaveLength(1);
  });

  test("an event of more bytes than EVENT_BYTES_MAX, headers included, and bytes are not characters", async () => {
    await using bench = await openReadBench();
    const a = bench.session();
    await a`update pgstream.settings set event_bytes_max = 20`;
    const before = await rowsOf(a);
    expect(await stateOf(publishDraft(a, { topic: "new", data: `"${"x".repeat(19)}"` }))).toBe("PS004");
    expect(await stateOf(publishDraft(a, { topic: "new", data: `"${"\u00E9".repeat(10)}"` }))).toBe("PS004");
    expect(await stateOf(publishDraft(a, { topic: "new", data: `"${"x".repeat(17)}"`, headers: "{}" }))).toBe(
      "PS004",
    );
    expect(await rowsOf(a)).toEqual(before);
    expect(await stateOf(publishDraft(a, { data: `"${"x".repeat(18)}"` }))).toBe("");
    expect(await stateOf(publishDraft(a, { data: `"${"x".repeat(16)}"`, headers: "{}" }))).toBe("");
  });

  test("a topic that does not exist, where publishing creates none", async () => {
    await using bench = await openReadBench();
    const a = bench.session();
    await a`update pgstream.settings set create_topics = false`;
    const before = await rowsOf(a);
    expect(await stateOf(publishDraft(a, { topic: "new" }))).toBe("PS003");
    expect(await stateOf(publishColumns(a, { topics: ["t", "new"] }))).toBe("PS003");
    expect(await rowsOf(a)).toEqual(before);
    expect(await publish(a)).toBeGreaterThan(0n);
  });
});
