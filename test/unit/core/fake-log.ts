//! The log as a model: transactions that draw xids and ids, run, commit and roll back; ticks; purges; epochs.

import type { EventRow } from "../../../src/core/event.ts";
import type {
  Bound,
  Bounds,
  Epoch,
  Log,
  Look,
  Page,
  PageRequest,
  PurgedTopic,
  WindowEnd,
} from "../../../src/core/log.ts";
import {
  isAhead,
  lateXids,
  makeSnapshot,
  sees,
  type Snapshot,
  type Xid,
  xmin,
} from "../../../src/core/snapshot.ts";
import type { LiveLog } from "../../../src/core/tail/tail-reader.ts";

interface Row {
  readonly id: bigint;
  readonly xid: Xid;
  readonly topic: string;
  readonly data: string;
}

interface Tick extends Bound {
  readonly topId: bigint;
  readonly snapshot: Snapshot;
}

export interface FakeTransaction {
  readonly xid: Xid;
  readonly publish: (topic: string, data?: string) => bigint;
  readonly commit: () => void;
  readonly rollback: () => void;
}

/** Its calls, by name, in order. */
export type LogCall = "epoch" | "look" | "live" | "answer" | "firstPage" | "windowEnd" | "nextPage";

const epochNamed = (id: string, number: number, firstId: bigint, snapshot: Snapshot): Epoch => ({
  id,
  number,
  firstId,
  snapshot,
});

export const epochIds = {
  first: "11111111-1111-4111-8111-111111111111",
  second: "22222222-2222-4222-8222-222222222222",
  third: "33333333-3333-4333-8333-333333333333",
  foreign: "ffffffff-ffff-4fff-8fff-ffffffffffff",
} as const;

/** The state, and what happens to it. */
class FakeDatabase {
  nextXid = 100n;
  latestCompleted = 99n;
  lastId = 0n;
  readonly running = new Set<Xid>();
  rows: Row[] = [];
  ticks: Tick[] = [];
  readonly topics: { id: number; name: string; xid: Xid }[] = [];
  readonly purges: (PurgedTopic & { readonly epoch: number })[] = [];
  epochs: Epoch[] = [epochNamed(epochIds.first, 1, 1n, makeSnapshot(100n, []))];
  isRunning = true;
  readonly calls: LogCall[] = [];
  /** Asked before every call; throw to fail it. */
  before: (call: LogCall) => Promise<void> | void = () => {};
  /** Asked before a page: true cuts it in front of its first event, as one that is larger than its share does. */
  cutsFirst: () => boolean = () => false;
  /** Asked before a live read: whether its news come from a statement behind that of the page. */
  asksForNewsLater: () => boolean = () => true;
  /** Asked before a look: how many of the ticks ahead a window may span. */
  ticksAhead: () => number = () => 1;

  /** Asked before a step: how many events it may pass. */
  stepEvents: () => number = () => 1_000;

  current(): Snapshot {
    return makeSnapshot(this.latestCompleted + 1n, this.running);
  }

  begin(): FakeTransaction {
    const xid = this.nextXid;
    this.nextXid += 1n;
    this.running.add(xid);
    const pending: Row[] = [];
    const newTopics: { id: number; name: string; xid: Xid }[] = [];
    const end = (): void => {
      this.running.delete(xid);
      if (xid > this.latestCompleted) this.latestCompleted = xid;
    };
    return {
      xid,
      publish: (topic, data = "null") => {
        this.lastId += 1n;
        pending.push({ id: this.lastId, xid, topic, data });
        const isKnown = [...this.topics, ...newTopics].some((it) => it.name === topic);
        if (!isKnown) newTopics.push({ id: Number(this.lastId), name: topic, xid });
        return this.lastId;
      },
      commit: () => {
        this.rows.push(...pending);
        this.rows.sort((a, b) => Number(a.id - b.id));
        for (const topic of newTopics) {
          if (!this.topics.some((it) => it.name === topic.name)) this.topics.push(topic);
        }
        end();
      },
      rollback: end,
    };
  }

  publish(topic: string, data?: string): bigint {
    const transaction = this.begin();
    const id = transaction.publish(topic, data);
    transaction.commit();
    return id;
  }

  tick(): void {
    const { lastId } = this;
    const snapshot = this.current();
    const transaction = this.begin();
    this.ticks.push({ xid: transaction.xid, snapshot, lastId, topId: lastId });
    transaction.commit();
  }

  /** Empties everything up to an id, as announced. */
  purge(topic: string, upTo: bigint, done = true): void {
    const gone = this.rows.filter((row) => row.topic === topic && row.id <= upTo);
    this.rows = this.rows.filter((row) => !gone.includes(row));
    const xids = gone.map((row) => row.xid).toSorted((a, b) => Number(a - b));
    const { number } =
      this.epochs.findLast(({ firstId }) => firstId <= (gone[0]?.id ?? upTo)) ?? this.newestEpoch();
    this.purges.push({
      epoch: number,
      purge: this.nextPurge(),
      topic,
      events: gone.length,
      firstXid: xids[0] ?? 0n,
      lastXid: xids.at(-1) ?? 0n,
      firstId: gone[0]?.id ?? 0n,
      lastId: upTo,
      floor: this.current(),
      ofSegment: true,
      done,
    });
  }

  newestPurge(): bigint {
    return this.purges.at(-1)?.purge ?? 0n;
  }

  /** An epoch's purges are numbered behind those of every earlier one. */
  nextPurge(): bigint {
    const { number } = this.newestEpoch();
    const base = number === 1 ? 0n : BigInt(number) << 32n;
    return (this.newestPurge() > base ? this.newestPurge() : base) + 1n;
  }

  openEpoch(id: string, firstId: bigint): void {
    this.epochs.push(epochNamed(id, this.epochs.length + 1, firstId, this.current()));
    this.lastId = firstId - 1n;
    this.isRunning = true;
  }

  newestEpoch(): Epoch {
    const newest = this.epochs.at(-1);
    if (newest === undefined) throw new Error("no epoch");
    return newest;
  }

  async called(call: LogCall): Promise<void> {
    this.calls.push(call);
    await this.before(call);
  }

  bounds(since: Snapshot): Bounds {
    return {
      main: this.ticks.findLast((it) => it.xid <= since.xmax) ?? null,
      late: this.ticks.findLast((it) => it.xid <= xmin(since)) ?? null,
    };
  }

  window({ since, until, after, late, lateBound, mainBound, top, topicIds }: PageRequest): Row[] {
    const floor = (bound: bigint): bigint => (bound > after ? bound : after);
    return this.#wanted(topicIds).filter(
      (row) =>
        (top === null || row.id <= top) &&
        ((late.includes(row.xid) && row.id > floor(lateBound)) ||
          (row.xid >= since.xmax && sees(until, row.xid) && row.id > floor(mainBound))),
    );
  }

  /** As Postgres walks it: by id, in two stretches, without what lies between them. */
  between({ since, until, after, mainBound, topicIds }: PageRequest, end: WindowEnd): Row[] {
    const main = [after, mainBound, end.late ?? 0n].reduce((a, b) => (a > b ? a : b));
    return this.#wanted(topicIds).filter(
      (row) =>
        ((row.id > after && row.id <= (end.late ?? 0n)) || (row.id > main && row.id <= (end.main ?? 0n))) &&
        sees(until, row.xid) &&
        !sees(since, row.xid),
    );
  }

  #wanted(topicIds: readonly number[] | null): Row[] {
    return this.rows.filter((row) => topicIds === null || topicIds.includes(this.topicId(row.topic)));
  }

  topicId(name: string): number {
    return this.topics.find((it) => it.name === name)?.id ?? -1;
  }
}

const pageOf = (
  database: FakeDatabase,
  rows: readonly Row[],
  request: Pick<PageRequest, "eventsMax" | "bytesMax">,
): Page => {
  if (rows.length > 0 && database.cutsFirst()) return { rows: [], more: true };
  const kept: Row[] = [];
  let bytes = 0;
  for (const row of rows.slice(0, request.eventsMax)) {
    if (kept.length > 0 && bytes >= request.bytesMax) break;
    kept.push(row);
    bytes += row.data.length;
  }
  const toRow = (row: Row): EventRow => ({
    id: row.id,
    topicId: database.topicId(row.topic),
    key: null,
    type: null,
    headers: null,
    createdAt: new Date(0),
    data: row.data,
  });
  return {
    rows: kept.map(toRow),
    more: kept.length < Math.min(rows.length, request.eventsMax) || rows.length >= request.eventsMax,
  };
};

const greatest = (xids: readonly Xid[]): Xid | null =>
  xids.reduce<Xid | null>((most, xid) => (most === null || xid > most ? xid : most), null);

const logOf = (database: FakeDatabase): Log => ({
  epoch: async () => {
    await database.called("epoch");
    return { newest: database.newestEpoch(), isRunning: database.isRunning };
  },
  epochsSince: async (id) => {
    await Promise.resolve();
    const from = id === null ? 0 : database.epochs.findIndex((epoch) => epoch.id === id);
    return from < 0 ? [] : database.epochs.slice(from);
  },
  bounds: async (_, since) => {
    await Promise.resolve();
    return database.bounds(since);
  },
  look: async ({ since, bound, topicsSince, expectsTick }): Promise<Look> => {
    await database.called("look");
    const { rows, ticks, topics } = database;
    const tick = ticks
      .filter((it) => it.xid >= since.xmax && isAhead(it.snapshot, since))
      .slice(0, database.ticksAhead())
      .at(-1);
    return {
      epoch: { newest: database.newestEpoch(), isRunning: database.isRunning },
      current: database.current(),
      newestXid:
        expectsTick && tick !== undefined
          ? null
          : greatest(rows.filter((it) => it.id > bound && it.xid >= since.xmax).map((it) => it.xid)),
      tick: tick?.snapshot ?? null,
      tickTop: tick?.topId ?? null,
      bounds: database.bounds(since),
      purge: database.newestPurge(),
      topics: topics.filter((it) => !sees(topicsSince, it.xid)),
    };
  },
  firstPage: async (request) => {
    await database.called("firstPage");
    return pageOf(database, database.window(request), request);
  },
  windowEnd: async (request) => {
    await database.called("windowEnd");
    const rows = database.window(request);
    return {
      late: rows.findLast((row) => request.late.includes(row.xid))?.id ?? null,
      main: rows.findLast((row) => !request.late.includes(row.xid))?.id ?? null,
      lateEvents: rows.filter((row) => request.late.includes(row.xid)).length,
    };
  },
  nextPage: async (request, end) => {
    await database.called("nextPage");
    return pageOf(database, database.between(request, end), request);
  },
  stepEnd: async (after, last) => {
    await Promise.resolve();
    const ids = database.rows.map(({ id }) => id).filter((id) => id > after && id <= last);
    return ids[database.stepEvents() - 1] ?? ids.at(-1) ?? null;
  },
  purgedTopics: async ({ number }, purge, topicIds) => {
    await Promise.resolve();
    return database.purges.filter(
      (it) =>
        it.epoch === number &&
        it.purge > purge &&
        (topicIds === null || topicIds.includes(database.topicId(it.topic))),
    );
  },
  starts: {
    floor: async () => {
      await Promise.resolve();
      return { segments: null, purge: database.newestPurge() };
    },
    tickBy: async () => {
      await Promise.resolve();
      return database.ticks.at(-1)?.snapshot ?? null;
    },
    ticksAround: async (_, id) => {
      await Promise.resolve();
      return {
        before: database.ticks.filter((it) => it.lastId < id).at(-2)?.snapshot ?? null,
        after: database.ticks.find((it) => it.lastId >= id)?.snapshot ?? null,
      };
    },
    lastId: async () => {
      await Promise.resolve();
      return database.lastId;
    },
  },
});

const liveOf = (database: FakeDatabase, log: Log): LiveLog => ({
  read: async (request) => {
    await database.called("live");
    const { since, epoch, mainBound, lateBound, topicIds, topicsSince } = request;
    const current = database.current();
    const rows = database.window({
      since,
      until: current,
      after: epoch.firstId - 1n,
      late: lateXids(since, current),
      lateBound,
      mainBound,
      top: null,
      topicIds,
      eventsMax: request.eventsMax,
      bytesMax: request.bytesMax,
    });
    const page = pageOf(database, rows, request);
    // When it is a later statement, much may happen in between.
    if (database.asksForNewsLater()) await database.called("answer");
    const news = await log.look({ since, epoch, bound: mainBound, topicsSince, expectsTick: false });
    return { page, current, news };
  },
});

export type FakeLog = FakeDatabase & { readonly log: Log; readonly live: LiveLog };

export const makeFakeLog = (): FakeLog => {
  const database = new FakeDatabase();
  const log = logOf(database);
  return Object.assign(database, { log, live: liveOf(database, log) });
};
