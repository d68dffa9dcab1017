//! Cursors as one printable string: base64url of a version, the fields as variable-length numbers, and a checksum.
//!
//! Transaction ids travel as distances, and the second snapshot of an open window only says which of the first one's
//! running transactions still run: under 4 kB with 1,000 transactions open, so that a cursor fits an HTTP header.

import type { Cursor } from "./cursor.ts";
import { PgstreamError } from "./errors.ts";
import { covers, makeSnapshot, type Snapshot, type Xid } from "./snapshot.ts";

const version = 1;
const lengthMax = 1_000_000;
const runningMax = 100_000n;

const fnv1a = (bytes: readonly number[]): number => {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
};

const writeNumber = (out: number[], value: bigint): void => {
  let rest = value;
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
};

/** `xmax`, how many run, and their distances downwards. */
const writeSnapshot = (out: number[], xmax: Xid, running: readonly Xid[]): void => {
  writeNumber(out, xmax);
  writeNumber(out, BigInt(running.length));
  let above = xmax;
  for (const xid of running.toReversed()) {
    writeNumber(out, above - xid);
    above = xid;
  }
};

const writeBits = (out: number[], bits: readonly boolean[]): void => {
  for (let at = 0; at < bits.length; at += 8) {
    out.push(bits.slice(at, at + 8).reduce((byte, bit, index) => byte | (bit ? 1 << index : 0), 0));
  }
};

export const encodeCursor = (cursor: Cursor): string => {
  const out: number[] = [version, ...Uint8Array.fromHex(cursor.epoch.replaceAll("-", ""))];
  writeNumber(out, cursor.purge);
  writeSnapshot(out, cursor.seen.xmax, cursor.seen.xip);
  if (cursor.window !== null) {
    const { until, after } = cursor.window;
    writeNumber(out, after);
    // `until` sees all that `seen` sees, so below xmax(seen) only those can run that ran before.
    const still = new Set(until.xip);
    writeBits(
      out,
      cursor.seen.xip.map((xid) => still.has(xid)),
    );
    writeSnapshot(
      out,
      until.xmax,
      until.xip.filter((xid) => xid >= cursor.seen.xmax),
    );
  }
  const sum = fnv1a(out);
  out.push(sum >>> 24, (sum >>> 16) & 0xff, (sum >>> 8) & 0xff, sum & 0xff);
  return Uint8Array.from(out).toBase64({ alphabet: "base64url", omitPadding: true });
};

const refuse = (why: string): never => {
  throw new PgstreamError(
    "invalid_cursor",
    `not a cursor of pgstream: ${why}; take it as it was given, or start from earliest`,
  );
};

const makeDecoder = (bytes: Uint8Array) => {
  let at = 0;
  const byte = (): number => bytes[at++] ?? refuse("it is cut short");
  const number = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const next = byte();
      value |= BigInt(next & 0x7f) << shift;
      if (next < 0x80) return value < 1n << 63n ? value : refuse("a number is too large");
    }
    return refuse("a number is too long");
  };
  const snapshot = (alsoRunning: readonly Xid[], floor: Xid): Snapshot => {
    const xmax = number();
    const count = number();
    if (count > runningMax) return refuse("too many transactions");
    const running: Xid[] = [];
    let above = xmax;
    for (let n = 0n; n < count; n += 1n) {
      above -= number();
      running.push(above);
    }
    if (above < floor) return refuse("a transaction is out of range");
    const result = makeSnapshot(xmax, [...alsoRunning, ...running]);
    return result.xmax === xmax ? result : refuse("a snapshot is not in canonical form");
  };
  const bits = (count: number): boolean[] => {
    const packed = Array.from({ length: Math.ceil(count / 8) }, byte);
    return Array.from(
      { length: count },
      (_, index) => ((packed[index >> 3] ?? 0) & (1 << (index & 7))) !== 0,
    );
  };
  return { byte, number, snapshot, bits, done: () => at === bytes.length };
};

const decodeBytes = (text: string): Uint8Array => {
  if (text.length > lengthMax) return refuse("it is too long");
  try {
    return Uint8Array.fromBase64(text, { alphabet: "base64url" });
  } catch {
    return refuse("it is not base64url");
  }
};

/**
 * @param text what {@link encodeCursor} made, perhaps tampered with since
 * @throws PgstreamError `invalid_cursor`
 */
export const decodeCursor = (text: string): Cursor => {
  const all = decodeBytes(text);
  const body = all.subarray(0, -4);
  const sum = all.subarray(-4).reduce((value, byte) => ((value << 8) | byte) >>> 0, 0);
  if (all.length < 24 || sum !== fnv1a([...body])) return refuse("its checksum does not match");
  const decoder = makeDecoder(body);
  if (decoder.byte() !== version) return refuse("it is of another version");
  const hex = Uint8Array.from({ length: 16 }, decoder.byte).toHex();
  const epoch = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  const purge = decoder.number();
  const seen = decoder.snapshot([], 0n);
  if (decoder.done()) return { epoch, purge, seen, window: null };
  const after = decoder.number();
  const still = decoder.bits(seen.xip.length);
  const until = decoder.snapshot(
    seen.xip.filter((_, index) => still[index] === true),
    seen.xmax,
  );
  if (!decoder.done() || !covers(until, seen)) return refuse("its window does not fit");
  return { epoch, purge, seen, window: { until, after } };
};
