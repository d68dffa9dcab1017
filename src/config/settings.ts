//! Every setting there is: name, unit, default, meaning. The help, the parsing and the type `Config` all come from here.

import { messageOf } from "../core/errors.ts";
import { parseTopicPatterns } from "../core/topic.ts";
import { databaseUrl } from "./database-url.ts";
import { from } from "./from.ts";
import { choice, integer, onOff, splitList, text, type Parser } from "./parser.ts";
import { roleNames, selectRoles, type RoleName } from "./role-names.ts";
import { optional, setting } from "./setting.ts";
import { storeUrl } from "./store-url.ts";
import { bytes, duration } from "./units.ts";

const roles: Parser<readonly RoleName[]> = {
  unit: "list",
  parse: (value) => {
    const chosen = selectRoles(splitList(value));
    return chosen === null || chosen.length === 0
      ? { problem: `is not a list of roles: write ${roleNames.join(", ")}, several with commas, or all` }
      : { value: chosen };
  },
};

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

const databaseOf = (role: RoleName) =>
  optional(`${role.toUpperCase()}_DATABASE_URL`, databaseUrl, {
    about: `the ${role}'s own database login`,
    unset: "DATABASE_URL",
    secret: true,
  });

const passwordOf = (role: RoleName) =>
  optional(`${role.toUpperCase()}_PASSWORD`, text("password"), {
    about: `password of the login ${role} that CREATE_LOGINS makes`,
    unset: "none",
    flag: null,
    secret: true,
  });

const mebibyte = 2 ** 20;

export const settings = {
  process: {
    roles: optional("ROLES", roles, {
      about: `what to run: ${roleNames.join(", ")}, several with commas, or all`,
      unset: "none: must be given",
    }),
    host: setting("HOST", text("address"), { default: "0.0.0.0", about: "address of the HTTP server" }),
    port: optional("PORT", integer("port", { min: 0, max: 65_535 }), {
      about: "port of the HTTP server; the migrator alone opens none, 0 takes a free one",
      unset: "1337 with the consumer, else 1338 producer, 1339 purger",
    }),
    logLevel: setting("LOG_LEVEL", choice("debug", "info", "warn", "error"), {
      default: "info",
      about: "what to log",
    }),
    logFormat: setting("LOG_FORMAT", choice("auto", "json", "pretty"), {
      default: "auto",
      about: "one JSON object per line, or pretty; auto is pretty on a terminal",
    }),
    shutdownTimeoutMs: setting("SHUTDOWN_TIMEOUT", duration(), {
      default: "20s",
      about: "how long SIGTERM waits for work in hand",
    }),
  },
  database: {
    url: optional("DATABASE_URL", databaseUrl, {
      about: "the events database: postgres://user:password@host:5432/database",
      unset: "none",
      secret: true,
    }),
    migratorUrl: databaseOf("migrator"),
    producerUrl: databaseOf("producer"),
    consumerUrl: databaseOf("consumer"),
    purgerUrl: databaseOf("purger"),
    tls: optional("DATABASE_TLS", choice("off", "verify", "no-verify"), {
      about: "TLS to Postgres: verify checks certificate and host name, no-verify only encrypts",
      unset: "the URL's sslmode (require verifies too), else verify with a CA file, else off",
    }),
    caFile: optional("DATABASE_CA_FILE", text("file"), {
      about: "certificate authorities to trust for Postgres (PEM)",
      unset: "the URL's sslrootcert, else the system's",
    }),
    unsafeDurability: setting("UNSAFE_DURABILITY", onOff, {
      default: "off",
      about: "start even when the server has fsync, full_page_writes or synchronous_commit off",
    }),
  },
  migrator: {
    dedicatedDatabase: setting("DEDICATED_DATABASE", onOff, {
      default: "off",
      about: "the database is pgstream's alone: put its schema on the search path",
    }),
    createLogins: setting("CREATE_LOGINS", onOff, {
      default: "off",
      about: "make the logins producer, consumer and purger; needs their passwords",
    }),
    producerPassword: passwordOf("producer"),
    consumerPassword: passwordOf("consumer"),
    purgerPassword: passwordOf("purger"),
  },
  producer: {
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
    connectionsMax: setting("PUBLISH_CONNECTIONS", integer("connections", { min: 1, max: 100 }), {
      default: "4",
      about: "database connections that publish at once",
    }),
    eventBytesMax: setting("EVENT_BYTES_MAX", bytes({ min: 1, max: 64 * mebibyte }), {
      default: "1MB",
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
  },
  consumer: {
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
      about: 'topics to receive; "courses.*" is one level, ">" is everything below',
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
    pollIntervalMs: setting("POLL_INTERVAL", duration({ minMs: 10 }), {
      default: "1s",
      about: "how often to look when no wake-up comes",
    }),
    batchEventsMax: setting("BATCH_EVENTS_MAX", integer("events", { min: 1, max: 100_000 }), {
      default: "1000",
      about: "events handed over at once",
    }),
    batchBytesMax: setting("BATCH_BYTES_MAX", bytes({ min: 1, max: 1_024 * mebibyte }), {
      default: "16MB",
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
    onEpochChange: setting("ON_EPOCH_CHANGE", choice("stop", "restart"), {
      default: "stop",
      about: "when the log is not the one the cursor knows; restart begins at its first event",
    }),
    receiptsAgeMs: optional("RECEIPTS_AGE", duration({ minMs: 1_000 }), {
      about: "how long receipts are kept",
      unset: "as long as their events",
    }),
    leaseTtlMs: setting("LEASE_TTL", duration({ minMs: 1_000 }), {
      default: "10s",
      about: "how long a silent consumer keeps others standing by",
    }),
  },
  purger: {
    retentionMs: setting("RETENTION", duration({ minMs: 1_000 }), {
      default: "7 days",
      about: "age at which events are removed; a topic may have its own",
    }),
    schedule: setting("PURGE_SCHEDULE", text("cron"), {
      default: "* * * * *",
      about: "when to purge, besides once at start (UTC)",
    }),
    segmentIntervalMs: setting("SEGMENT_INTERVAL", duration({ minMs: 1_000 }), {
      default: "1 day",
      about: "age at which a segment is closed",
    }),
    segmentBytesMax: setting("SEGMENT_BYTES", bytes({ min: mebibyte, max: 2 ** 45 }), {
      default: "10GB",
      about: "size at which a segment is closed",
    }),
    dryRun: setting("DRY_RUN", onOff, { default: "off", about: "only say what would be purged" }),
  },
  demo: {
    forMs: optional("DEMO_FOR", duration({ minMs: 1_000 }), {
      flag: "--for",
      about: "how long the demo runs",
      unset: "until stopped",
    }),
  },
};

export type Settings = typeof settings;
