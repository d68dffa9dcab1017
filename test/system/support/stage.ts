//! What a scenario needs: a PostgreSQL server of its own, the log in it, a login for each role, and a store.

import { join } from "node:path";

import postgres from "postgres";

import type { PostgresServer } from "../../../src/adapters/embedded-postgres/server.ts";
import type { ConsumerStore } from "../../../src/core/subscribe/store.ts";
import { openStore } from "../../../src/library/open-store.ts";
import type { TestMongo } from "../../support/mongo.ts";
import { startOwnServer } from "../../support/postgres.ts";
import { makeTemporaryFolder } from "../../support/temporary-folder.ts";
import { waitFor } from "../../support/wait-for.ts";
import { type Process, run, type Settings, start } from "./processes.ts";

export const database = "eventsdb";
const passwords = {
  PRODUCER_PASSWORD: "producer-secret",
  CONSUMER_PASSWORD: "consumer-secret",
  PURGER_PASSWORD: "purger-secret",
};

export interface Stage extends AsyncDisposable {
  readonly server: PostgresServer;
  readonly storeUrl: string;
  /** A role's settings: its own login, never the superuser's. */
  readonly settings: (role: "migrator" | "producer" | "consumer" | "purger") => Settings;
  /** Ends with the stage at the latest. */
  readonly start: (
    role: "migrator" | "producer" | "consumer" | "purger",
    more?: Settings,
  ) => Promise<Process>;
  /** An empty database, as an administrator hands it out. */
  readonly createDatabase: () => Promise<void>;
  /** Creates the database, and in it the log and the logins. */
  readonly migrate: () => Promise<void>;
  readonly query: <T extends object>(text: string) => Promise<readonly T[]>;
  readonly openStore: () => Promise<ConsumerStore>;
}

/** @param mongo null: the store is a SQLite file */
export const openStage = async (mongo: TestMongo | null): Promise<Stage> => {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await makeTemporaryFolder("pgstream-stage-"));
  const server = opened.use(await startOwnServer());
  const storeUrl =
    mongo === null
      ? `sqlite:${join(folder.path, "consumer.sqlite")}`
      : opened.use(mongo.createDatabase()).url;
  const query = async <T extends object>(text: string): Promise<readonly T[]> => {
    const sql = postgres(server.url(database), { max: 1, fetch_types: false, onnotice: () => {} });
    try {
      return await sql.unsafe<T[]>(text);
    } finally {
      await sql.end({ timeout: 1 });
    }
  };
  const loginUrl = (role: string): string => {
    const url = new URL(server.url(database));
    url.username = role;
    url.password = `${role}-secret`;
    return url.href;
  };
  const settings: Stage["settings"] = (role) => ({
    ROLES: role,
    DATABASE_URL: role === "migrator" ? server.url(database) : loginUrl(role),
    ...(role === "migrator" ? { CREATE_LOGINS: "on", DEDICATED_DATABASE: "on", ...passwords } : {}),
    ...(role === "producer" ? { PRODUCE_INTERVAL: "10ms" } : {}),
    ...(role === "consumer" ? { STORE_URL: storeUrl, LEASE_TTL: "2s" } : {}),
    ...(role === "purger" ? { PURGE_SCHEDULE: "* * * * * *" } : {}),
  });
  const createDatabase = async (): Promise<void> => {
    const admin = postgres(server.url(), { max: 1, onnotice: () => {} });
    await admin.unsafe(`create database ${database}`);
    await admin.end();
  };
  const kept = opened.move();
  return {
    server,
    storeUrl,
    settings,
    start: async (role, more = {}) => kept.use(await start({ ...settings(role), ...more })),
    createDatabase,
    migrate: async () => {
      await createDatabase();
      const { code, output } = await run(settings("migrator"));
      if (code !== 0) throw new Error(output);
    },
    query,
    openStore: async () => await openStore(storeUrl),
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  };
};

export const eventCount = async (stage: Stage): Promise<number> =>
  Number((await stage.query<{ n: string }>("select count(*) as n from events"))[0]?.n);

export const untilEvents = async (stage: Stage, count: number): Promise<void> => {
  await waitFor(async () => (await eventCount(stage)) >= count, {
    what: `${count} events`,
    deadlineMs: 60_000,
  });
};

/** Until a consumer has handled everything that is in the log. Nobody may publish meanwhile. */
export const untilHandled = async (stage: Stage, consumer: Process): Promise<void> => {
  const [row] = await stage.query<{ id: string }>("select max(id) as id from events");
  await waitFor(
    async () => {
      const details = (await consumer.health())?.["consumer"]?.details;
      return details?.["state"] === "live" && details["lastId"] === row?.id;
    },
    { what: `event ${row?.id} to be handled; log: ${consumer.output().slice(-1_500)}`, deadlineMs: 60_000 },
  );
};

interface StoredEvent {
  readonly id: string;
  readonly type: string;
  readonly key: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What the events lead to, worked out here: the last of each key wins. */
const expectedDocuments = (events: readonly StoredEvent[], type: string): ReadonlyMap<string, unknown> =>
  new Map(events.filter((event) => event.type === type).map((event) => [event.key, event.data]));

const documentsOf = async (
  store: ConsumerStore,
  collection: string,
): Promise<readonly Readonly<Record<string, unknown>>[]> => {
  const all: Readonly<Record<string, unknown>>[] = [];
  for (let after: string | null = null; ;) {
    const page = await store.documents(collection, after, 1_000);
    all.push(...page.documents);
    if (page.next === null) return all;
    after = page.next;
  }
};

/** Everything the log and the store hold, for comparing them without the product's own comparison. */
export const takeStock = async (stage: Stage) => {
  const events = await stage.query<StoredEvent>("select id, type, key, data from events order by id");
  const store = await stage.openStore();
  try {
    return {
      eventIds: events.map(({ id }) => BigInt(id)),
      receiptIds: await store.receiptIds(["courses", "policies"], -1n, 1_000_000),
      expected: {
        courses: expectedDocuments(events, "CourseCreated"),
        policies: expectedDocuments(events, "PolicyUpdated"),
      },
      courses: await documentsOf(store, "courses"),
      policies: await documentsOf(store, "policies"),
      coursesCreated: events.filter(({ type }) => type === "CourseCreated").length,
      policiesUpdated: events.filter(({ type }) => type === "PolicyUpdated").length,
    };
  } finally {
    await store.close();
  }
};
