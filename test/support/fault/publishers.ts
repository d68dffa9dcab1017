//! Writers that publish through the library, as applications do: bursts of calls that go out in micro-batches on two
//! connections, with the hint behind each batch. Their sessions are killed and their answers lost all the time, so that
//! batches are in doubt and come again.

import type postgres from "postgres";

import type { EventDraft } from "../../../src/core/event.ts";
import type { Publisher } from "../../../src/core/publish/publisher.ts";
import { silent } from "../../../src/library/defaults.ts";
import { openPublisher, type OpenPublisherOptions } from "../../../src/library/publisher.ts";
import { startTcpProxy, type TcpProxy } from "../tcp-proxy.ts";
import { count, type History } from "./history.ts";
import type { WriterOptions } from "./writers.ts";

export interface PublisherRun extends WriterOptions {
  readonly url: string;
}

const callers = 3;

/** What its events tell of themselves. */
interface Origin {
  readonly publisher: string;
  readonly call: number;
  readonly n: number;
}

/** Resets a connection now and then in the place of an answer: what was asked for has been done. */
const losingAnswers = async ({ url, history, random, isOver }: PublisherRun): Promise<TcpProxy> => {
  const { hostname, port } = new URL(url);
  return await startTcpProxy({
    host: hostname,
    port: Number(port),
    onChunk: (chunk, direction) => {
      const isAnswer = direction === "to-client" && chunk.includes("SELECT 1");
      if (!isAnswer || isOver() || random() > 0.03) return "pass";
      count(history, "answer lost");
      return "reset";
    },
  });
};

const open = (
  database: string,
  { history }: PublisherRun,
  options: Partial<OpenPublisherOptions> = {},
): Publisher & AsyncDisposable =>
  openPublisher({
    database,
    name: "fault publisher",
    connections: 2,
    logger: { ...silent, warn: () => count(history, "batch repeated") },
    ...options,
  });

/** Calls one publisher, and writes down what it answers. */
class Caller {
  readonly #name: string;
  readonly #publisher: Publisher;
  readonly #run: PublisherRun;
  #calls = 0;
  #events = 0;

  constructor(name: string, publisher: Publisher, run: PublisherRun) {
    this.#name = name;
    this.#publisher = publisher;
    this.#run = run;
  }

  /** One event, or a list: never rejects. */
  async call(): Promise<void> {
    const { history, random } = this.#run;
    this.#calls += 1;
    const isList = random() < 0.3;
    const drafts = Array.from({ length: isList ? 1 + Math.floor(random() * 9) : 1 }, () => this.#draft());
    const [first] = drafts;
    const startedAt = performance.now();
    try {
      const ids =
        isList || first === undefined
          ? await this.#publisher.publish(drafts)
          : [await this.#publisher.publish(first)];
      const committedAt = performance.now();
      for (const [at, id] of ids.entries()) {
        const { topic, key, data } = drafts[at] ?? first ?? { topic: "", data: null };
        // What is promised: the order of the calls, for each topic and key of a publisher; no key counts as one.
        const orderKey = `${this.#name} ${topic} ${key ?? ""}`;
        history.committed.set(id, { id, key: orderKey, n: (data as Origin).n, startedAt, committedAt });
      }
      count(history, isList ? "published list" : "published event");
    } catch (error) {
      history.refused.push(`${this.#name}: ${String(error)}`);
    }
  }

  #draft(): EventDraft {
    const { random, topics, keys } = this.#run;
    this.#events += 1;
    const data: Origin = { publisher: this.#name, call: this.#calls, n: this.#events };
    return {
      topic: `t${Math.floor(random() * topics)}`,
      ...(random() < 0.2 ? {} : { key: `p${Math.floor(random() * keys)}` }),
      data,
    };
  }
}

/** Publishes until it is over, and then until everything has been answered. */
export const runPublisher = async (name: string, run: PublisherRun): Promise<void> => {
  const { random, isOver, pause } = run;
  await using proxy = await losingAnswers(run);
  // Small batches, and a second lane for little: everything overlaps.
  await using publisher = open(proxy.through(run.url), run, { batchEventsMax: 30, furtherLaneEventsMin: 3 });
  const caller = new Caller(name, publisher, run);
  const callAll = async (): Promise<void> => {
    while (!isOver()) {
      // Not awaited one by one: what is called meanwhile goes out together.
      const size = 1 + Math.floor(random() * 12);
      await Promise.all(Array.from({ length: size }, async () => await caller.call()));
      await pause(30);
    }
  };
  await Promise.all(Array.from({ length: callers }, callAll));
};

/** One call behind all the others, and its hint. */
export const publishLast = async (run: PublisherRun): Promise<void> => {
  await using publisher = open(run.url, run);
  await new Caller(`last${run.history.committed.size}`, publisher, run).call();
};

/** What the log holds of the library's publishers, beside what they were told. */
export interface Audit {
  /** Events that are there more than once. */
  readonly twice: number;
  /** Events that are there under another id than was answered, or were never answered. */
  readonly unanswered: number;
  /** Calls whose events became visible in several transactions. */
  readonly torn: number;
  /** Batches of several calls. */
  readonly shared: number;
  /** Names under which lanes have published. */
  readonly lanes: number;
}

export const auditPublished = async (sql: postgres.Sql, { committed }: History): Promise<Audit> => {
  const rows = await sql<(Origin & { id: string; xid: string })[]>`
    select id::text as id, xid::text as xid, data ->> 'publisher' as publisher, (data ->> 'call')::integer as call,
      (data ->> 'n')::integer as n
    from pgstream.events where data ->> 'publisher' is not null`;
  const [lanes] = await sql<{ count: number }[]>`select count(*)::integer as count from pgstream.publishers`;
  const callOf = (row: Origin): string => `${row.publisher} ${row.call}`;
  const distinct = (names: readonly string[]): number => new Set(names).size;
  const several = (groups: Map<string, readonly string[]>): number =>
    [...groups.values()].filter((names) => distinct(names) > 1).length;
  const group = (from: (row: (typeof rows)[number]) => string, to: typeof from): Map<string, string[]> =>
    new Map([...Map.groupBy(rows, from)].map(([name, of]) => [name, of.map(to)]));
  return {
    twice: rows.length - distinct(rows.map(({ publisher, n }) => `${publisher} ${n}`)),
    unanswered: rows.filter(({ id, publisher, n }) => {
      const told = committed.get(BigInt(id));
      return told?.n !== n || told.key?.startsWith(`${publisher} `) !== true;
    }).length,
    torn: several(group(callOf, ({ xid }) => xid)),
    shared: several(group(({ xid }) => xid, callOf)),
    lanes: lanes?.count ?? 0,
  };
};
