//! Models to test the arithmetic against: a snapshot as the plain list of what it sees, and random ones of either kind.

import type { Cursor } from "../../../src/core/cursor.ts";
import { covers, makeSnapshot, sees, type Snapshot, type Xid } from "../../../src/core/snapshot.ts";
import type { Random } from "../../support/seed.ts";

/** Small enough to look at every transaction, large enough for every shape. */
export const universe: readonly Xid[] = Array.from({ length: 18 }, (_, n) => BigInt(n + 3));

/** As PostgreSQL gives them, running transactions at or above xmax included. */
export const rawSnapshot = (random: Random): { xmax: Xid; xip: Xid[] } => {
  const likely = random.random();
  return {
    xmax: BigInt(random.integer(3, 17)),
    xip: random.shuffle(universe.filter(() => random.chance(likely * 0.8))),
  };
};

export const smallSnapshot = (random: Random): Snapshot => {
  const { xmax, xip } = rawSnapshot(random);
  return makeSnapshot(xmax, xip);
};

/** What a snapshot sees, one bit per transaction of the universe. */
export const seenBits = (isSeen: (xid: Xid) => boolean): number =>
  universe.reduce((bits, xid, index) => (isSeen(xid) ? bits | (1 << index) : bits), 0);

export const bitsOf = (snapshot: Snapshot): number => seenBits((xid) => sees(snapshot, xid));

/** A snapshot with `running` transactions open, `gap` apart on average. */
export const wideSnapshot = (random: Random, top: Xid, running: number, gap: number): Snapshot => {
  const xip: Xid[] = [];
  let xid = top - 2n;
  for (let n = 0; n < running && xid > 3n; n += 1) {
    xip.push(xid);
    xid -= BigInt(random.integer(1, 2 * gap - 1));
  }
  return makeSnapshot(top, xip);
};

const randomUuid = (random: Random): string =>
  "########-####-####-####-############".replaceAll("#", () => random.integer(0, 15).toString(16));

const epoch = "6f1d2c3b-4a59-4687-8778-695a4b3c2d1e";

/** A later snapshot: some of what ran has ended, and there are new ones. */
const laterThan = (random: Random, seen: Snapshot, running: number, gap: number): Snapshot => {
  const stillRunning = seen.xip.filter(() => random.chance(0.5));
  const top = seen.xmax + BigInt(running * 2 * gap + random.integer(0, 5));
  const added = wideSnapshot(random, top, running, gap).xip.filter((xid) => xid >= seen.xmax);
  return makeSnapshot(top, [...stillRunning, ...added]);
};

export const randomCursor = (random: Random, running = 4, gap = 6): Cursor => {
  const top = BigInt(random.integer(3, 2 ** 48)) + BigInt(running * 2 * gap);
  const seen = wideSnapshot(random, top, random.integer(0, running), gap);
  const base = { epoch: randomUuid(random), purge: BigInt(random.integer(0, 1_000)), seen };
  if (random.chance(0.5)) return { ...base, window: null };
  const until = laterThan(random, seen, random.integer(0, running), gap);
  return { ...base, window: { until, after: BigInt(random.integer(0, 2 ** 50)) } };
};

/** With `running` transactions open; in a window, as many new ones again at its end. */
export const cursorWithOpen = (random: Random, running: number, gap: number, inWindow: boolean): Cursor => {
  const seen = wideSnapshot(random, 2n ** 40n, running, gap);
  const base = { epoch, purge: 12n, seen };
  if (!inWindow) return { ...base, window: null };
  const until = laterThan(random, seen, running, gap);
  return { ...base, window: { until, after: 2n ** 45n } };
};

const isCanonical = ({ xmax, xip }: Snapshot): boolean =>
  Bun.deepEquals(makeSnapshot(xmax, xip), { xmax, xip });

export const isWellFormed = ({ seen, window }: Cursor): boolean =>
  isCanonical(seen) && (window === null || (isCanonical(window.until) && covers(window.until, seen)));
