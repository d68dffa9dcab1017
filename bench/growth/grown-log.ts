//! A log of millions, made on the server: committed transactions of a thousand events, a tick after every ten of them, two
//! writers side by side, several segments. As it would have come to be, but in seconds.

import { liveThrough, makeTopics } from "../../test/support/growth-log.ts";
import type { BenchContext } from "../context.ts";
import { openRaw } from "../raw-table.ts";

const writers = 2;
const eventsPerTransaction = 1_000;
const transactionsPerTick = 10;
/** Of a writer, until it says how far it is. */
const transactionsPerLine = 500;

/** About 220 bytes of JSON, of which every event has its own. */
const data = `'{"customer":"Ada ' || 1000 + n % 9000 || '","product":"olives","quantity":' || n % 99 || ',"cents":' || n * 7919 % 999999
  || ',"isGift":false,"note":"' || md5(made::text || n) || md5(n::text || made) || md5((made + n)::text) || '","n":' || n || '}'`;

export interface GrownLog {
  readonly events: number;
  readonly segments: number;
  readonly topics: number;
}

/** How many are wanted: what was said, else twenty millions at full scale and 100,000 at the quick one. */
export const eventsWanted = ({ eventsMax, scale }: Pick<BenchContext, "eventsMax" | "scale">): number =>
  eventsMax ?? Math.max(100_000, Math.round((scale >= 1 ? 20_000_000 : 5_000_000) * scale));

/** Topics are called `topic.1` and so on. */
export const topicName = (number: number): string => `topic.${number}`;

/** @returns what there is then: a little less than asked for, in whole transactions */
export const growLog = async (
  { say, signal }: Pick<BenchContext, "say" | "signal">,
  url: string,
  wanted: GrownLog,
): Promise<GrownLog> => {
  const sessions = Array.from({ length: writers }, () => openRaw(url, 1));
  try {
    const [first] = sessions;
    if (first === undefined) throw new RangeError("a log needs a writer");
    await Promise.all(sessions.map(async (sql) => await sql`set synchronous_commit = off`));
    await makeTopics(first, "topic", wanted.topics);
    const perWriter = Math.max(
      1,
      Math.floor(wanted.events / wanted.segments / writers / eventsPerTransaction),
    );
    for (let segment = 0; segment < wanted.segments; segment += 1) {
      // Attached by one of them, before both write to it.
      await liveThrough(first, {
        firstSegment: segment,
        segments: 1,
        transactionsPerSegment: 0,
        eventsPerTransaction: 0,
      });
      for (let done = 0; done < perWriter; done += transactionsPerLine) {
        signal.throwIfAborted();
        const transactionsPerSegment = Math.min(transactionsPerLine, perWriter - done);
        await Promise.all(
          sessions.map(
            async (sql) =>
              await liveThrough(sql, {
                firstSegment: segment,
                segments: 1,
                transactionsPerSegment,
                eventsPerTransaction,
                topics: wanted.topics,
                transactionsPerTick: transactionsPerTick * writers,
                data,
              }),
          ),
        );
        const transactions = segment * perWriter + done + transactionsPerSegment;
        say(`  ${(transactions * writers * eventsPerTransaction).toLocaleString("en-US")} events are there`);
      }
    }
    await first`vacuum analyze pgstream.events`;
    return { ...wanted, events: wanted.segments * perWriter * writers * eventsPerTransaction };
  } finally {
    await Promise.all(sessions.map(async (sql) => await sql.end({ timeout: 1 })));
  }
};
