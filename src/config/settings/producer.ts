import { integer, onOff } from "../parser.ts";
import { optional, setting } from "../setting.ts";
import { bytes, duration } from "../units.ts";

export const producerSettings = {
  intervalMs: setting("PRODUCE_INTERVAL", duration({ minMs: 0 }), {
    default: "2s",
    about: "time between two rounds of example events; 0 is as fast as it goes",
  }),
  countMax: optional("PRODUCE_COUNT", integer("events", { min: 1, max: 1e12 }), {
    about: "end after so many events",
    unset: "no end",
  }),
  seed: optional("SEED", integer("number", { min: 0, max: 2 ** 32 - 1 }), {
    about: "makes the example events the same every time",
    unset: "random",
  }),
  eventBytesMax: setting("EVENT_BYTES_MAX", bytes({ min: 1, max: 64 * 2 ** 20 }), {
    default: "1MiB",
    about: "the most one event may weigh",
  }),
  createTopics: setting("CREATE_TOPICS", onOff, {
    default: "on",
    about: "publishing to an unknown topic creates it",
  }),
  idempotencyWindowMs: setting("IDEMPOTENCY_WINDOW", duration({ minMs: 1_000 }), {
    default: "24h",
    about: "how long a repeated publish is recognised; the purger forgets older ones",
  }),
};
