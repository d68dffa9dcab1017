import { messageOf } from "../../core/errors.ts";
import { parseTopicPatterns } from "../../core/topic.ts";
import { from } from "../from.ts";
import { choice, integer, splitList, text, type Parser } from "../parser.ts";
import { optional, setting } from "../setting.ts";
import { storeUrl } from "../store-url.ts";
import { bytes, duration, timerMsMax } from "../units.ts";

const topics: Parser<readonly string[]> = {
  unit: "list",
  parse: (value) => {
    try {
      return { value: parseTopicPatterns(splitList(value)).patterns };
    } catch (error) {
      return { problem: `is not a list of topics: ${messageOf(error)}` };
    }
  },
};

const subscription: Parser<string> = {
  unit: "name",
  parse: (value) =>
    /^[A-Za-z0-9_.-]{1,100}$/.test(value)
      ? { value }
      : { problem: 'is not a name: use 1 to 100 letters, digits, "_", "-" and "."' },
};

export const consumerSettings = {
  storeUrl: setting("STORE_URL", storeUrl, {
    default: "sqlite:./pgstream-consumer.sqlite",
    about: "where documents, receipts and the cursor are kept: sqlite: or mongodb:",
    secret: true,
  }),
  storeCaFile: optional("STORE_CA_FILE", text("file"), {
    about: "certificate authorities to trust for MongoDB (PEM); turns TLS on",
    unset: "as the URL says",
  }),
  topics: setting("TOPICS", topics, {
    default: "courses,policies",
    about:
      'topics to receive; "courses.*" is one level, ">" is everything below; of topics added later only new events come',
  }),
  subscription: setting("SUBSCRIPTION", subscription, {
    default: "consumer",
    about: "name under which the cursor is kept",
  }),
  from: setting("FROM", from, {
    default: "earliest",
    about: "where a new subscription starts: earliest, latest, a time with zone, id:N, cursor:…",
  }),
  wakeups: setting("WAKEUPS", choice("listen", "poll"), {
    default: "listen",
    about: "LISTEN for wake-ups, or only poll (behind PgBouncer)",
  }),
  pollIntervalMs: setting("POLL_INTERVAL", duration({ minMs: 10, maxMs: timerMsMax }), {
    default: "1s",
    about: "how often to look when no wake-up comes",
  }),
  batchEventsMax: setting("BATCH_EVENTS_MAX", integer("events", { min: 1, max: 100_000 }), {
    default: "1000",
    about: "events handed over at once",
  }),
  batchBytesMax: setting("BATCH_BYTES_MAX", bytes({ min: 1, max: 2 ** 30 }), {
    default: "8MB",
    about: "bytes handed over at once, though always at least one event",
  }),
  handlerRetriesMax: setting("HANDLER_RETRIES", integer("times", { min: 0, max: 1_000 }), {
    default: "5",
    about: "tries after a handler's failure before the subscription stops",
  }),
  onPurged: setting("ON_PURGED", choice("stop", "skip"), {
    default: "stop",
    about: "when events were purged unread",
  }),
  onEpochChange: setting("ON_EPOCH_CHANGE", choice("stop", "cross", "restart"), {
    default: "stop",
    about:
      "when the database was promoted, upgraded or restored: cross takes what is left of before, then goes on; restart does not",
  }),
  receiptsAgeMs: optional("RECEIPTS_AGE", duration({ minMs: 1_000 }), {
    about: "how long receipts are kept",
    unset: "as long as their events",
  }),
  leaseTtlMs: setting("LEASE_TTL", duration({ minMs: 1_000, maxMs: timerMsMax }), {
    default: "10s",
    about: "how long a silent consumer keeps others standing by",
  }),
};
