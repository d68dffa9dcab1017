//! One tail and one listening connection for all subscriptions of the process on the same database.

import { openClient, type PostgresClient, type PostgresTarget } from "../adapters/postgres/client.ts";
import { liveSession, makeLiveLog } from "../adapters/postgres/read/live-log.ts";
import { makeLog, readingSession } from "../adapters/postgres/read/log.ts";
import { keepListening } from "../adapters/postgres/wakeups.ts";
import type { Clock, Logger } from "../core/ports.ts";
import { hintedTail } from "../core/tail/tail-hints.ts";
import { SharedTail, type Tail } from "../core/tail/tail.ts";
import { makeWakeupFlag } from "../core/wakeup-flag.ts";
import { serverTimeout } from "./defaults.ts";

export interface TailOptions {
  readonly target: PostgresTarget;
  /** False behind a pooler. */
  readonly listens: boolean;
  /** The longest a statement may take. */
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface TailShare {
  readonly tail: Tail;
  /** Whoever is last closes it. */
  readonly release: () => Promise<void>;
}

interface OpenTail {
  readonly tail: Tail;
  /** Told of every hint. */
  readonly listeners: Set<() => void>;
  readonly close: () => Promise<void>;
}

const name = "tail";
const pingOptions = { name, pingIntervalMs: 5_000, pingDeadlineMs: 5_000 };

/** A member may lag behind by more than the three pages that reading ahead makes it hold. */
const limits = {
  pageEventsMax: 5_000,
  pageBytesMax: 5 * 2 ** 20,
  lagEventsMax: 20_000,
  lagBytesMax: 20 * 2 ** 20,
  pauseMs: 1_000,
};

const openTail = ({ target, listens, deadlineMs, clock, logger }: TailOptions): OpenTail => {
  const stopped = new AbortController();
  const openWith = (settings: Readonly<Record<string, string>>): PostgresClient =>
    openClient(target, {
      name,
      deadlineMs,
      ownConnection: listens,
      session: { ...settings, statement_timeout: serverTimeout(deadlineMs) },
      signal: stopped.signal,
    });
  const client = openWith(liveSession);
  // For what is more than a page behind: planned anew each time, as by those who read alone.
  const reading = openWith(readingSession);
  const wakeups = makeWakeupFlag(clock);
  const listeners = new Set<() => void>([wakeups.raise]);
  const tail = new SharedTail(
    { log: makeLog(reading, !listens), live: makeLiveLog(client, !listens), wakeups, clock, logger },
    limits,
  );
  const onHint = (): void => {
    for (const listener of listeners) listener();
  };
  const running = tail.run(stopped.signal);
  const listening = listens
    ? keepListening(
        {
          target,
          onHint,
          ports: { clock, logger, random: Math.random, pinger: client },
          options: pingOptions,
        },
        stopped.signal,
      )
    : Promise.resolve();
  return {
    tail,
    listeners,
    close: async () => {
      stopped.abort();
      await Promise.all([running, listening]);
      await Promise.all([client.end(), reading.end()]);
    },
  };
};

const open = new Map<string, OpenTail>();

/** @param onHint called when there may be something new; not while it is in the tail, which then tells it what there is */
export const takeTail = (options: TailOptions, onHint: () => void): TailShare => {
  const key = JSON.stringify([options.target, options.listens]);
  const it = open.get(key) ?? openTail(options);
  open.set(key, it);
  const hinted = hintedTail(it.tail, onHint);
  it.listeners.add(hinted.onHint);
  return {
    tail: hinted.tail,
    release: async () => {
      it.listeners.delete(hinted.onHint);
      // Its own flag is always among them.
      if (it.listeners.size > 1) return;
      if (open.get(key) === it) open.delete(key);
      await it.close();
    },
  };
};
