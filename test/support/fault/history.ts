//! What really happened, written down outside the database: when each event's publish began, and when its transaction
//! was known to have committed.

export interface Written {
  readonly id: bigint;
  /** Which contended key, and the how-manieth of it; null for events without one. */
  readonly key: string | null;
  readonly n: number | null;
  readonly startedAt: number;
  readonly committedAt: number;
}

export interface History {
  readonly committed: Map<bigint, Written>;
  /** Publishes that the log refused though nothing was wrong with them. */
  readonly refused: string[];
  /** How often each kind of transaction was committed or rolled back. */
  readonly happened: Map<string, number>;
}

export const makeHistory = (): History => ({ committed: new Map(), refused: [], happened: new Map() });

export const count = (history: History, what: string): void => {
  history.happened.set(what, (history.happened.get(what) ?? 0) + 1);
};

export interface Delivered {
  readonly id: bigint;
  readonly at: number;
}

export interface Verdict {
  readonly lost: number;
  readonly repeated: number;
  readonly unordered: number;
  readonly unknown: number;
  readonly lagMsP99: number;
}

/** Judges what one reader saw, in the order it saw it. Only after it has drained the log. */
export const judge = (history: History, delivered: readonly Delivered[]): Verdict => {
  const seen = new Set<bigint>();
  const lastOfKey = new Map<string, number>();
  const lags: number[] = [];
  let repeated = 0;
  let unordered = 0;
  let unknown = 0;
  let latestStart = -Infinity;
  for (const { id, at } of delivered) {
    if (seen.has(id)) repeated += 1;
    seen.add(id);
    const written = history.committed.get(id);
    if (written === undefined) {
      unknown += 1;
      continue;
    }
    lags.push(at - written.committedAt);
    // Somebody who began after this one had committed was delivered before it.
    let wrong = written.committedAt < latestStart;
    latestStart = Math.max(latestStart, written.startedAt);
    if (written.key !== null && written.n !== null) {
      wrong ||= written.n < (lastOfKey.get(written.key) ?? 0);
      lastOfKey.set(written.key, written.n);
    }
    if (wrong) unordered += 1;
  }
  let lost = 0;
  for (const id of history.committed.keys()) if (!seen.has(id)) lost += 1;
  lags.sort((a, b) => a - b);
  return {
    lost,
    repeated,
    unordered,
    unknown,
    lagMsP99: Math.round(lags[Math.floor(lags.length * 0.99)] ?? 0),
  };
};
