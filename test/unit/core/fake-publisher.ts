//! A publisher over fake appenders.

import type { EventDraft } from "../../../src/core/event.ts";
import { makePublisher, type PublisherOptions } from "../../../src/core/publish/publisher.ts";
import { type FakeAppender, makeFakeAppender } from "./fake-appender.ts";
import { makeFakeClock, makeFakeLogger } from "./fakes.ts";

/** One lane, unless told otherwise. */
export const makeTestPublisher = ({
  lanes = 1,
  settled = async () => {},
  ...options
}: Partial<PublisherOptions> & {
  readonly lanes?: number;
  readonly settled?: () => Promise<void>;
} = {}) => {
  const appender = makeFakeAppender();
  const clock = makeFakeClock();
  const announced: bigint[] = [];
  let names = 0;
  const publisher = makePublisher(
    {
      appenders: Array.from({ length: lanes }, () => appender),
      announcer: { announce: (lastId) => void announced.push(lastId), settled },
      clock,
      random: () => 0.5,
      newId: () => `publisher-${(names += 1)}`,
      logger: makeFakeLogger(),
    },
    {
      batchEventsMax: 1_000,
      batchBytesMax: 2 ** 20,
      bufferEventsMax: 10_000,
      bufferBytesMax: 2 ** 24,
      callBytesMax: 2 ** 28,
      eventBytesMax: 2 ** 20,
      furtherLaneEventsMin: 1,
      backoff: { delayMsMin: 50, delayMsMax: 5_000 },
      ...options,
    },
  );
  return { appender, clock, publisher, announced };
};

export const event = (data: unknown, topic = "t"): EventDraft => ({ topic, data });
export const batchSizes = (appender: FakeAppender): number[] =>
  appender.calls.map((call) => call.events.length);
