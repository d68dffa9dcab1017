import { expect, test } from "bun:test";

import { decodeCursor, encodeCursor } from "../../../src/core/cursor-codec.ts";
import { atRest, type Cursor, inWindow, samePlace, sameRest } from "../../../src/core/cursor.ts";
import { hasCode } from "../../../src/core/errors.ts";
import { makeSnapshot } from "../../../src/core/snapshot.ts";
import { makeRandom } from "../../support/seed.ts";
import { cursorWithOpen, isWellFormed, randomCursor } from "./models.ts";

/** What became of a text: a cursor, or the one refusal that is allowed. */
const decode = (text: string): Cursor | "refused" => {
  try {
    return decodeCursor(text);
  } catch (error) {
    if (hasCode(error, "invalid_cursor")) return "refused";
    throw error;
  }
};

const fnv1a = (bytes: Uint8Array): number =>
  bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0, 0x811c9dc5);

/** A text whose checksum is right, whatever else it holds. */
const sealed = (bytes: Uint8Array): string => {
  const out = new Uint8Array(bytes.length + 4);
  out.set(bytes);
  new DataView(out.buffer).setUint32(bytes.length, fnv1a(bytes));
  return out.toBase64({ alphabet: "base64url", omitPadding: true });
};

const bodyOf = (text: string): Uint8Array =>
  Uint8Array.fromBase64(text, { alphabet: "base64url" }).slice(0, -4);

test("cursors at rest and in a window come back the same, as text fit for a URL", () => {
  const random = makeRandom("cursor round trip");
  for (let n = 0; n < 5_000; n += 1) {
    const cursor = randomCursor(random);
    const text = encodeCursor(cursor);
    expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
    if (!Bun.deepEquals(decodeCursor(text), cursor)) throw new Error(Bun.inspect(cursor, { depth: 5 }));
  }
});

test.each([1, 20, 50])(
  "with 1,000 transactions open, %p apart, either form is under 4,000 characters",
  (gap) => {
    const random = makeRandom("cursor size");
    for (const isOpen of [false, true]) {
      const cursor = cursorWithOpen(random, 1_001, gap, isOpen);
      if (gap > 1) expect(cursor.seen.xip.length).toBeGreaterThanOrEqual(1_000);
      const text = encodeCursor(cursor);
      expect(text.length).toBeLessThan(4_000);
      expect(decodeCursor(text)).toEqual(cursor);
    }
  },
);

test("numbers up to the greatest xid and id survive", () => {
  const top = 2n ** 63n - 1n;
  const cursor: Cursor = {
    epoch: "00000000-0000-0000-0000-000000000000",
    purge: top,
    seen: makeSnapshot(top - 10n, [3n]),
    window: { until: makeSnapshot(top, [top - 5n]), after: top },
  };
  expect(decodeCursor(encodeCursor(cursor))).toEqual(cursor);
});

test("every truncation is refused", () => {
  const random = makeRandom("truncated cursor");
  for (let n = 0; n < 50; n += 1) {
    const text = encodeCursor(randomCursor(random));
    for (let length = 0; length < text.length; length += 1) {
      expect(decode(text.slice(0, length))).toBe("refused");
    }
  }
});

test("every changed character is noticed", () => {
  const random = makeRandom("tampered cursor");
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const cursors = Array.from({ length: 400 }, () => randomCursor(random));
  for (let n = 0; n < 20_000; n += 1) {
    const cursor = random.pick(cursors);
    const text = encodeCursor(cursor);
    const at = random.integer(0, text.length - 1);
    const other = text.slice(0, at) + alphabet.charAt(random.integer(0, 63)) + text.slice(at + 1);
    const got = decode(other);
    // Bits of the last character that carry nothing may differ.
    if (got !== "refused" && !Bun.deepEquals(got, cursor)) throw new Error(`${text} became ${other}`);
  }
});

test("garbage with a right checksum is refused or a sound cursor, never another exception", () => {
  const random = makeRandom("forged cursor");
  const bodies = Array.from({ length: 400 }, () => bodyOf(encodeCursor(randomCursor(random))));
  let sound = 0;
  for (let n = 0; n < 20_000; n += 1) {
    const body = Uint8Array.from(random.pick(bodies));
    for (let flips = random.integer(1, 4); flips > 0; flips -= 1) {
      body[random.integer(17, body.length - 1)] = random.integer(0, 255);
    }
    const got = decode(sealed(random.chance(0.2) ? body.slice(0, random.integer(0, body.length)) : body));
    if (got === "refused") continue;
    sound += 1;
    if (!isWellFormed(got) || !Bun.deepEquals(decodeCursor(encodeCursor(got)), got)) {
      throw new Error(Bun.inspect(got, { depth: 5 }));
    }
  }
  expect(sound).toBeGreaterThan(0);
});

test("random text is refused", () => {
  const random = makeRandom("random text");
  for (let n = 0; n < 20_000; n += 1) {
    const length = random.integer(0, 60);
    const text = String.fromCharCode(
      ...Array.from({ length }, () => random.integer(0, random.chance(0.1) ? 0xffff : 0x7f)),
    );
    expect(decode(text)).toBe("refused");
  }
});

test("another version, other people's cursors and endless text are refused", () => {
  const body = bodyOf(encodeCursor(randomCursor(makeRandom("version"))));
  for (const version of [0, 2, 255])
    expect(decode(sealed(Uint8Array.of(version, ...body.slice(1))))).toBe("refused");
  for (const text of [
    "",
    "42",
    "earliest",
    "10:20:12",
    '{"id":1}',
    "6f1d2c3b-4a59-4687-8778-695a4b3c2d1e",
    "A".repeat(1_000_001),
  ]) {
    expect(decode(text)).toBe("refused");
  }
});

/** A cursor at rest with a right checksum, made of these numbers: purge, xmax, how many run, their distances. */
const forged = (...numbers: readonly bigint[]): string => {
  const out = [1, ...Array.from({ length: 16 }, () => 0)];
  for (const number of numbers) {
    let rest = number;
    for (; rest > 0x7fn; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
    out.push(Number(rest));
  }
  return sealed(Uint8Array.from(out));
};

test("numbers that no log has are refused", () => {
  expect(decode(forged(0n, 20n, 2n, 2n, 3n))).toMatchObject({ seen: { xmax: 20n, xip: [15n, 18n] } });
  for (const [what, ...numbers] of [
    ["a purge beyond 64 bits", 2n ** 63n, 20n, 0n],
    ["an xmax beyond 64 bits", 0n, 2n ** 63n, 0n],
    ["a number of eleven bytes", 2n ** 75n, 20n, 0n],
    ["more running transactions than the text holds", 0n, 2n ** 40n, 2n ** 62n],
    ["more running transactions than any server has", 0n, 2n ** 40n, 100_001n],
    ["a running transaction below zero", 0n, 20n, 1n, 21n],
    ["a last transaction that runs, which another form says without it", 0n, 20n, 1n, 1n],
  ] as const) {
    expect([what, decode(forged(...numbers))]).toEqual([what, "refused"]);
  }
});

test("a finished window leaves the cursor at rest at its end, and only equal rests are the same place", () => {
  const rest: Cursor = { epoch: "e", purge: 0n, seen: makeSnapshot(10n, [5n]), window: null };
  const until = makeSnapshot(20n, []);
  const open = inWindow(rest, until, 7n);
  expect(atRest(rest)).toBe(rest);
  expect(atRest(open)).toEqual({ ...rest, seen: until });
  expect(sameRest(rest, { ...rest, purge: 9n, seen: makeSnapshot(11n, [10n, 5n]) })).toBe(true);
  expect(sameRest(rest, atRest(open))).toBe(false);
  expect(sameRest(rest, open)).toBe(false);
  expect(sameRest(rest, { ...rest, epoch: "f" })).toBe(false);
});

test("two cursors are at the same place when they stand in the same window, as far in it, or rest there", () => {
  const rest: Cursor = { epoch: "e", purge: 0n, seen: makeSnapshot(10n, [5n]), window: null };
  const open = inWindow(rest, makeSnapshot(20n, []), 7n);
  const others = [
    rest,
    { ...rest, epoch: "f" },
    { ...rest, seen: makeSnapshot(10n, []) },
    open,
    { ...open, epoch: "f" },
    { ...open, seen: makeSnapshot(10n, []) },
    inWindow(rest, makeSnapshot(20n, []), 8n),
    inWindow(rest, makeSnapshot(21n, []), 7n),
  ];
  for (const [at, a] of others.entries()) {
    for (const [index, b] of others.entries()) {
      expect([at, index, samePlace(a, { ...b, purge: 9n })]).toEqual([at, index, at === index]);
    }
  }
});

test("a window that goes back is refused", () => {
  const seen = makeSnapshot(20n, []);
  const epoch = "11111111-1111-4111-8111-111111111111";
  const back = inWindow({ epoch, purge: 0n, seen, window: null }, makeSnapshot(10n, []), 7n);
  expect(decode(encodeCursor(back))).toBe("refused");
});
