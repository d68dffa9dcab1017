//! The driver reads replies where they lie, as patched: so wherever they are cut, they are the same.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

import postgres from "postgres";

import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import { caught } from "../support/migrator.ts";
import { createTestDatabase, type TestDatabase } from "../support/postgres.ts";
import { makeRandom } from "../support/seed.ts";
import { waitFor } from "../support/wait-for.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
}, 60_000);
afterAll(async () => {
  await database.drop();
});

/** Hands on what arrives in pieces, their sizes told by `next`. */
const cutUp = (socket: Socket, next: () => number): void => {
  const emit = socket.emit.bind(socket);
  socket.emit = (event: string, ...args: unknown[]): boolean => {
    const [chunk] = args;
    if (event !== "data" || !(chunk instanceof Uint8Array)) return emit(event, ...args);
    for (let at = 0; at < chunk.length;) {
      const size = next();
      emit("data", chunk.subarray(at, at + size));
      at += size;
    }
    return true;
  };
};

const openCut = (next: () => number): postgres.Sql => {
  const dial = async (): Promise<Socket> => {
    const { hostname, port } = new URL(database.url);
    const socket = connect({ host: hostname, port: Number(port) });
    await once(socket, "connect");
    cutUp(socket, next);
    return socket;
  };
  // `socket` is an option of the driver that its types leave out.
  return postgres(database.url, {
    max: 1,
    fetch_types: false,
    onnotice: () => {},
    socket: dial,
  } as postgres.Options<Record<string, never>>);
};

const rowsOf = (sql: postgres.Sql, widths: readonly number[]) => sql<{ n: number; text: string | null }[]>`
  select n::integer, case when width > 0 then repeat(chr(233 + (n % 20)::integer), width) end as text
  from unnest(${`{${widths.join(",")}}`}::text::integer[]) with ordinality u(width, n)`;

/** Rows, an error in the middle of them, what comes between statements, and a COPY. */
const check = async (next: () => number, widths: readonly number[]): Promise<void> => {
  const sql = openCut(next);
  try {
    for (let round = 0; round < 3; round += 1) {
      const rows = await rowsOf(sql, widths);
      expect(rows.map(({ n }) => n)).toEqual(widths.map((_, index) => index + 1));
      expect(rows.map(({ text }) => text)).toEqual(
        widths.map((width, index) =>
          width > 0 ? String.fromCodePoint(233 + ((index + 1) % 20)).repeat(width) : null,
        ),
      );
      const failed = await caught(sql`select 1 / (3 - n) from generate_series(1, 5) n`.execute());
      expect(sqlstateOf(failed)).toBe("22012");
      const several = await Promise.all([sql`select 1 as a`, rowsOf(sql, widths), sql`select 2 as b`]);
      expect(several.map((it) => it.length)).toEqual([1, widths.length, 1]);
    }
    const copied: Buffer[] = [];
    const out = await sql`copy (select repeat('y', n) from generate_series(1, 200) n) to stdout`.readable();
    out.on("data", (chunk: Buffer) => copied.push(Buffer.from(chunk)));
    await once(out, "end");
    expect(Buffer.concat(copied).length).toBe(200 * 201 * 0.5 + 200);
  } finally {
    await sql.end({ timeout: 1 });
  }
};

const randomWidths = (integer: (min: number, max: number) => number): number[] =>
  Array.from({ length: 40 }, () => (integer(0, 9) === 0 ? integer(5_000, 70_000) : integer(0, 300)));

test("a reply that comes byte by byte is read as it was sent", async () => {
  await check(() => 1, [0, 1, 3, 200, 0, 2_000]);
}, 60_000);

test("a reply that is cut at random places is read as it was sent", async () => {
  const { integer } = makeRandom("cuts");
  for (const sizeMax of [2, 6, 40, 900, 40_000])
    await check(() => integer(1, sizeMax), randomWidths(integer));
}, 60_000);

test("a notification between the pieces of a reply arrives, and so does the reply", async () => {
  const { integer } = makeRandom("notified");
  const sql = openCut(() => integer(1, 30));
  const heard: string[] = [];
  await sql.listen("cuts", (payload) => void heard.push(payload));
  const other = openCut(() => integer(1, 30));
  for (let n = 0; n < 50; n += 1) await other.notify("cuts", `${n} ${"z".repeat(integer(0, 2_000))}`);
  await waitFor(() => heard.length === 50, { what: "50 notifications" });
  expect(heard.map((it) => Number(it.split(" ")[0]))).toEqual(Array.from({ length: 50 }, (_, n) => n));
  await Promise.all([sql.end({ timeout: 1 }), other.end({ timeout: 1 })]);
}, 60_000);
