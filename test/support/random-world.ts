//! A log with everything that can happen to it: writers with early xids, savepoints, long and nested transactions that roll
//! back, ticks taken and deleted at random, ids that jump, segments that roll, and retention. One step at a time.

import { makePurging } from "../../src/adapters/postgres/purge/purge-log.ts";
import { dayMs, hourMs, runRound } from "./purging.ts";
import { publish, type ReadBench, roll, type Session, takeXid } from "./read-bench.ts";
import type { Random } from "./seed.ts";

export interface WrittenEvent {
  readonly id: bigint;
  readonly topic: string;
  /** When its publish began, and when it had been committed, by the world's own clock. */
  readonly beganAt: number;
  readonly committedAt: number;
}

type OpenEvent = Omit<WrittenEvent, "committedAt">;

interface Writer {
  readonly session: Session;
  isOpen: boolean;
  events: OpenEvent[];
  /** How many of its events were there when it set its savepoint. */
  saved: number | null;
}

export interface RandomWorld {
  readonly step: () => Promise<void>;
  /** Commits what is open. */
  readonly settle: () => Promise<void>;
  readonly committed: readonly WrittenEvent[];
}

const writerCount = 7;
/** Some come often, some seldom. */
const topics = ["t", "t", "t", "t", "t", "t", "u", "u", "u", "u", "u", "v.a", "v.a", "v.b", "v.b", "rare"];
const idJumpMax = 180_000;

/** @param purges whether retention removes anything */
export const makeRandomWorld = async (
  bench: ReadBench,
  random: Random,
  purges: boolean,
): Promise<RandomWorld> => {
  const [admin, ticker] = [bench.session(), bench.session()];
  const purging = makePurging(bench.client);
  await admin`
    insert into pgstream.topics (name) select distinct unnest(string_to_array(${topics.join(",")}, ',')) on conflict do nothing`;
  if (purges) await admin`update pgstream.topics set retention = '1 hour' where name in ('u', 'rare')`;
  const committed: WrittenEvent[] = [];
  const writers: Writer[] = Array.from({ length: writerCount }, () => ({
    session: bench.session(),
    isOpen: false,
    events: [],
    saved: null,
  }));
  let now = 0;

  const publishOne = async (session: Session): Promise<OpenEvent> => {
    now += 1;
    const [beganAt, topic] = [now, random.pick(topics)];
    return { id: await publish(session, topic), topic, beganAt };
  };
  const keep = (events: readonly OpenEvent[]): void => {
    now += 1;
    committed.push(...events.map((it) => ({ ...it, committedAt: now })));
  };
  const commit = async (writer: Writer): Promise<void> => {
    await writer.session`commit`;
    keep(writer.events);
    writer.isOpen = false;
  };
  const begin = async (writer: Writer): Promise<void> => {
    await writer.session`begin`;
    Object.assign(writer, { isOpen: true, events: [], saved: null });
    if (random.chance(0.5)) await takeXid(writer.session);
  };
  const moveSavepoint = async (writer: Writer): Promise<void> => {
    if (writer.saved === null) {
      await writer.session`savepoint s`;
      writer.saved = writer.events.length;
    } else if (random.chance(0.5)) {
      await writer.session`rollback to savepoint s`;
      writer.events.length = writer.saved;
    } else {
      await writer.session`release savepoint s`;
      writer.saved = null;
    }
  };
  const write = async (): Promise<void> => {
    const writer = random.pick(writers);
    const what = random.random();
    if (!writer.isOpen && what < 0.5) keep([await publishOne(writer.session)]);
    else if (!writer.isOpen) await begin(writer);
    else if (what < 0.6) {
      for (let n = random.integer(1, 3); n > 0; n -= 1) writer.events.push(await publishOne(writer.session));
    } else if (what < 0.7) await moveSavepoint(writer);
    else if (what < 0.93) await commit(writer);
    else {
      await writer.session`rollback`;
      writer.isOpen = false;
    }
  };
  const settle = async (): Promise<void> => {
    for (const writer of writers) if (writer.isOpen) await commit(writer);
  };
  /** Lets two hours pass, and a round of the purger. */
  const purge = async (): Promise<void> => {
    await purging.tick();
    await admin`update pgstream.ticks set at = at - interval '2 hours'`;
    await admin`update pgstream.purges set announced_at = announced_at - interval '2 hours'`;
    await admin`update pgstream.topic_looks set at = at - interval '2 hours'`;
    await admin`
      update pgstream.segments
      set attached_at = attached_at - interval '2 hours', opened_at = opened_at - interval '2 hours'`;
    await runRound(purging, {
      retentionMs: random.chance(0.3) ? 1.5 * hourMs : 7 * dayMs,
      trimEventsMax: random.integer(1, 20),
      trimBatchesMax: random.chance(0.3) ? 1 : 100,
    });
  };
  const step = async (): Promise<void> => {
    const what = random.random();
    if (what < 0.72) await write();
    else if (what < 0.93) await ticker`select pgstream.tick()`;
    else if (what < 0.95)
      await admin`delete from pgstream.ticks where random() < ${random.random() / 2}::float8`;
    else if (what < 0.965) {
      await admin`
        select setval('pgstream.event_ids', last_value + ${random.integer(1, idJumpMax)}::bigint) from pgstream.event_ids`;
    } else if (what < 0.98) {
      // An open transaction that has published holds up who attaches a segment.
      await settle();
      // Perhaps nothing was published since the last one.
      await roll(admin).catch(() => undefined);
    } else if (purges) await purge();
  };
  return { step, settle, committed };
};
