//! `pgstream verify`: is everything that the log holds handled, and nothing else?

import { openClient } from "../adapters/postgres/client.ts";
import { accountedIds, listEvents, listTopics } from "../adapters/postgres/read/list-events.ts";
import { makeLog } from "../adapters/postgres/read/log.ts";
import type { Config } from "../config/config.ts";
import { databaseFor } from "../config/database-target.ts";
import { decodeCursor } from "../core/cursor-codec.ts";
import { PgstreamError } from "../core/errors.ts";
import type { Epoch } from "../core/log.ts";
import type { ConsumerStore } from "../core/subscribe/store.ts";
import { parseTopicPatterns } from "../core/topic.ts";
import { compare, type Comparison, type Listed } from "../core/verify.ts";
import type { Command } from "./command.ts";
import { openConfiguredStore } from "./configured-store.ts";

const statementTimeoutMs = 60_000;
const receiptsMax = 20_000;
const shownMax = 20;

async function* receiptsOf(store: ConsumerStore, topics: readonly string[]): AsyncGenerator<bigint> {
  for (let after = -1n; ;) {
    const ids = await store.receiptIds(topics, after, receiptsMax);
    yield* ids;
    const last = ids.at(-1);
    if (last === undefined) return;
    after = last;
  }
}

const describe = (what: string, { count, ids }: Listed): string =>
  count === 0
    ? `${what}: 0`
    : `${what}: ${count} (ids ${ids.slice(0, shownMax).join(", ")}${count > shownMax ? ", …" : ""})`;

interface Verified extends Comparison {
  /** Whether the subscription has ever stored where it is. */
  readonly hasCursor: boolean;
  /** The log has topics, and none of them is wanted. */
  readonly wantsNone: boolean;
  /** The one that was compared. */
  readonly epoch: Epoch;
}

const report = (result: Verified, patterns: readonly string[]): readonly string[] => [
  `topics: ${patterns.join(", ")}`,
  `handled: ${result.matching}`,
  describe("missing", result.missing),
  describe("extra", result.extra),
  describe("duplicate", result.duplicate),
  `still to come: ${result.toCome}`,
  ...(result.expired > 0 ? [`older than receipts are kept: ${result.expired}`] : []),
  ...(result.epoch.number > 1
    ? [`not compared: ids below ${result.epoch.firstId}, of the time before this epoch of the log`]
    : []),
];

const compareAll = async (config: Config, store: ConsumerStore): Promise<Verified> => {
  const { topics, subscription, receiptsAgeMs, wakeups } = config.consumer;
  const target = databaseFor(config.database.targets, "consumer");
  const ownConnection = wakeups !== "poll";
  await using client = openClient(target, { name: "verify", deadlineMs: statementTimeoutMs, ownConnection });
  // The cursor first: receipts that come in meanwhile are ahead of it, never behind.
  const stored = await store.cursor(subscription);
  const cursor = stored === null ? null : decodeCursor(stored);
  const { newest } = await makeLog(client, !ownConnection).epoch();
  if (cursor !== null && cursor.epoch !== newest.id) {
    throw new PgstreamError(
      "epoch_changed",
      `the cursor of subscription ${subscription} was taken on another epoch of the log: nothing can be compared`,
    );
  }
  const filter = parseTopicPatterns(topics);
  const known = await listTopics(client);
  const wanted = known.filter(({ name }) => filter.matches(name));
  const topicIds = wanted.map(({ id }) => id);
  const comparison = await compare(cursor, {
    logged: listEvents(client, newest, topicIds, receiptsAgeMs),
    receipts: receiptsOf(
      store,
      wanted.map(({ name }) => name),
    ),
    accounted: async (ids) => await accountedIds(client, newest, topicIds, ids),
  });
  return {
    ...comparison,
    hasCursor: cursor !== null,
    wantsNone: known.length > 0 && wanted.length === 0,
    epoch: newest,
  };
};

/** One line that says it all. A name nobody uses, or a store that was empty until it was asked, agrees with everything. */
const verdictOf = (result: Verified, subscription: string): readonly [isEqual: boolean, line: string] => {
  const { missing, extra, duplicate, toCome, hasCursor, wantsNone } = result;
  if (wantsNone) return [false, "no topic of the log matches: look at TOPICS"];
  if (!hasCursor && toCome > 0) {
    return [
      false,
      `subscription ${subscription} has never stored a cursor here: look at SUBSCRIPTION and STORE_URL`,
    ];
  }
  const isEqual = missing.count + extra.count + duplicate.count === 0;
  return [isEqual, isEqual ? "the log and the store agree" : "the log and the store differ"];
};

/** Exit code 1 when something is missing, extra or duplicate, or when there is nothing to compare with. */
export const verify: Command = async (config, { logger, print }) => {
  const store = await openConfiguredStore(config, logger);
  try {
    const result = await compareAll(config, store);
    for (const line of report(result, config.consumer.topics)) print(line);
    const [isEqual, line] = verdictOf(result, config.consumer.subscription);
    print(line);
    return isEqual ? 0 : 1;
  } finally {
    await store.close();
  }
};
