//! Compares what the log holds with what a consumer says it handled: by the sets of ids, since equal counts prove little.

import type { Cursor } from "./cursor.ts";
import { sees, type Xid } from "./snapshot.ts";

/** An event, as far as comparing needs it. */
export interface LoggedId {
  readonly id: bigint;
  readonly xid: Xid;
  /** Whether its receipt may have expired. */
  readonly isOld: boolean;
}

/** How many there are, and the first ten thousand of them. */
export interface Listed {
  readonly count: number;
  readonly ids: readonly bigint[];
}

export interface Comparison {
  /** Handled according to the cursor, and receipted. */
  readonly matching: number;
  /** The cursor is past them, but there is no receipt. */
  readonly missing: Listed;
  /** Receipted, but the log neither holds them nor ever removed them. */
  readonly extra: Listed;
  /** Receipted more than once. */
  readonly duplicate: Listed;
  /** The cursor is not past them yet, whoever else has left a receipt in the same store. */
  readonly toCome: number;
  /** Too old for a receipt that is kept no longer than configured. */
  readonly expired: number;
}

export interface ComparePorts {
  /** Ids of the subscribed topics, ascending, in the cursor's epoch. */
  readonly logged: AsyncIterable<LoggedId>;
  /** Receipts of the subscribed topics, ascending, read from the store after the cursor. */
  readonly receipts: AsyncIterable<bigint>;
  /** Those of the ids that the log holds, or that retention removed: asked for what seems to be extra. */
  readonly accounted: (ids: readonly bigint[]) => Promise<ReadonlySet<bigint>>;
}

export const isHandled = ({ seen, window }: Cursor, { id, xid }: LoggedId): boolean =>
  sees(seen, xid) || (window !== null && id <= window.after && sees(window.until, xid));

/** Enough to start looking with; all of them would not fit a terminal. */
const listedMax = 10_000;

class List implements Listed {
  count = 0;
  readonly ids: bigint[] = [];

  add(id: bigint): void {
    this.count += 1;
    if (this.ids.length < listedMax) this.ids.push(id);
  }
}

class Findings {
  matching = 0;
  toCome = 0;
  expired = 0;
  readonly missing = new List();
  readonly extra = new List();
  readonly duplicate = new List();
  /** Receipts without an event, not asked about yet. */
  #unmatched: bigint[] = [];
  readonly #accounted: ComparePorts["accounted"];

  constructor(accounted: ComparePorts["accounted"]) {
    this.#accounted = accounted;
  }

  /** Most of them may be of purged events: those do not count against the list. */
  async withoutEvent(id: bigint): Promise<void> {
    this.#unmatched.push(id);
    if (this.#unmatched.length >= listedMax) await this.settle();
  }

  async settle(): Promise<void> {
    const accounted = await this.#accounted(this.#unmatched);
    for (const id of this.#unmatched) if (!accounted.has(id)) this.extra.add(id);
    this.#unmatched = [];
  }

  add(event: LoggedId, cursor: Cursor | null, hasReceipt: boolean): void {
    if (cursor === null || !isHandled(cursor, event)) this.toCome += 1;
    else if (hasReceipt) this.matching += 1;
    else if (event.isOld) this.expired += 1;
    else this.missing.add(event.id);
  }
}

/** The receipts, each once; repeated ones go into `duplicate`. */
async function* distinct(receipts: AsyncIterable<bigint>, findings: Findings): AsyncGenerator<bigint> {
  let before: bigint | null = null;
  for await (const id of receipts) {
    if (id === before) findings.duplicate.add(id);
    else yield id;
    before = id;
  }
}

/** @param cursor read from the store before the receipts; null: nothing was handled yet */
export const compare = async (cursor: Cursor | null, ports: ComparePorts): Promise<Comparison> => {
  const findings = new Findings(ports.accounted);
  const receipts = distinct(ports.receipts, findings);
  let receipt = await receipts.next();
  for await (const event of ports.logged) {
    while (receipt.done !== true && receipt.value < event.id) {
      await findings.withoutEvent(receipt.value);
      receipt = await receipts.next();
    }
    const hasReceipt = receipt.done !== true && receipt.value === event.id;
    findings.add(event, cursor, hasReceipt);
    if (hasReceipt) receipt = await receipts.next();
  }
  for (; receipt.done !== true; receipt = await receipts.next()) await findings.withoutEvent(receipt.value);
  await findings.settle();
  const { matching, missing, extra, duplicate, toCome, expired } = findings;
  return { matching, missing, extra, duplicate, toCome, expired };
};
