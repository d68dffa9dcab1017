//! What an application says of its subscription, looked at before anything is opened.

import { decodeCursor } from "../core/cursor-codec.ts";
import type { From } from "../core/read/start.ts";
import type { EventHandler } from "../core/subscribe/event-handler.ts";
import type { SubscribeOptions } from "../core/subscribe/subscribe.ts";
import type { ConnectOptions } from "./defaults.ts";
import { checkForms, checkNumbers, checkWords } from "./given-options.ts";
import type { StoredCursor } from "./stored-cursor.ts";

/** The application keeps its cursor itself, best together with its effect. */
export type OwnCursor = EventHandler;

export interface SubscriptionOptions
  extends ConnectOptions, Partial<Omit<SubscribeOptions, "filter" | "from" | "backoff">> {
  /** Names, or patterns: `courses.*` is one level, `>` everything below. */
  readonly topics: readonly string[];
  /** Where to start when there is no cursor yet. Default earliest. */
  readonly from?: "earliest" | "latest" | From | { readonly cursor: string };
  /** `poll` behind a pooler, which LISTEN does not pass. Default listen. */
  readonly wakeups?: "listen" | "poll";
}

export const fromOf = (from: SubscriptionOptions["from"]): From => {
  if (from === undefined) return { kind: "earliest" };
  if (typeof from === "string") return { kind: from };
  return "kind" in from ? from : { kind: "cursor", cursor: decodeCursor(from.cursor) };
};

const isFunction = (value: unknown): boolean => typeof value === "function";
const isStore = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "commit" in value && isFunction(value.commit);

/** Not a timer: it may be years. */
const isAge = (value: unknown): boolean =>
  value === undefined || value === null || (Number.isSafeInteger(value) && (value as number) >= 1);

/** Who handles the events, and who keeps where it was. */
const checkHandler = (options: object): void => {
  checkForms(options, {
    topics: [Array.isArray, 'a list of names, such as ["orders"]'],
    handle: [isFunction, "a function that handles a batch of events"],
  });
  if ("store" in options) {
    checkForms(options, {
      store: [isStore, "what openStore resolves with: await openStore(…)"],
      subscription: [(it) => typeof it === "string" && it !== "", "the name that the cursor is kept under"],
      receiptsAgeMs: [isAge, "a whole number of milliseconds from 1, or null"],
      cursor: [(it) => it === undefined, "either a store or a cursor of your own"],
    });
    return;
  }
  checkForms(options, {
    cursor: [isFunction, "a function that answers the last cursor or null, or give a store"],
    advance: [(it) => it === undefined || isFunction(it), "a function that stores a cursor"],
  });
};

const idMax = 2n ** 63n - 1n;
/** What PostgreSQL's times and JavaScript's agree upon; an invalid date has no year. */
const isMoment = (at: unknown): boolean =>
  at instanceof Date && at.getUTCFullYear() >= 1 && at.getUTCFullYear() <= 9_999;

const checkFrom = (from: SubscriptionOptions["from"]): void => {
  if (typeof from !== "object" || from === null) {
    checkWords({ from }, { from: ["earliest", "latest"] });
  } else if ("kind" in from) {
    checkWords(from, { kind: ["earliest", "latest", "time", "id", "cursor"] });
    checkForms(
      {
        "from.kind": from.kind,
        "from.at": "at" in from ? from.at : undefined,
        "from.id": "id" in from ? from.id : undefined,
        "from.cursor": "cursor" in from ? from.cursor : undefined,
      },
      {
        "from.kind": [(kind) => kind !== undefined, "one, or { cursor } and no kind"],
        "from.at": [(at) => from.kind !== "time" || isMoment(at), "a Date of the years 1 to 9999"],
        "from.id": [
          (id) => from.kind !== "id" || (typeof id === "bigint" && id >= 0n && id <= idMax),
          "an id, a bigint from 0n on",
        ],
        "from.cursor": [
          (cursor) => from.kind !== "cursor" || (typeof cursor === "object" && cursor !== null),
          "a decoded cursor, or { cursor } with its text and no kind",
        ],
      },
    );
  } else {
    checkForms(
      { "from.cursor": from.cursor },
      { "from.cursor": [(cursor) => typeof cursor === "string", "the text of a cursor"] },
    );
  }
};

/** @throws PgstreamError `invalid_config` */
export const checkOptions = (options: SubscriptionOptions & Partial<StoredCursor>): void => {
  checkNumbers(options, {
    pollIntervalMs: 1,
    batchEventsMax: 1,
    pageEventsMax: 1,
    pageBytesMax: 1,
    handlerRetriesMax: 0,
    advanceIntervalMs: 0,
    leaseTtlMs: 1,
  });
  checkWords(options, {
    onPurged: ["stop", "skip"],
    onEpochChange: ["stop", "cross", "restart"],
    wakeups: ["listen", "poll"],
  });
  checkFrom(options.from);
  checkHandler(options);
};
