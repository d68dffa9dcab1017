//! Mongo for tests: `await describeWithMongo("…", (mongo) => { … mongo.createDatabase() … })`. Where no server can be had
//! the tests inside are skipped by name, loudly; in continuous integration that is a failure.

import { describe, test } from "bun:test";
import { randomBytes } from "node:crypto";

import { MongoClient } from "mongodb";

import { startJanitor } from "./janitor-process.ts";
import { openMongoService } from "./mongo-service.ts";
import { isCi, newRunId, sharedRun } from "./run-context.ts";
import { namePrefix } from "./run-databases.ts";

export interface MongoTestDatabase extends AsyncDisposable {
  /** Names the database, so it can be given to the product as it is. */
  readonly url: string;
  readonly name: string;
  /** Safe twice. */
  readonly drop: () => Promise<void>;
}

export interface TestMongo {
  readonly url: string;
  /** For example "FerretDB at …": for a test that must know a limit of what it talks to. */
  readonly source: string;
  /** An empty database of the test's own; what is forgotten goes at the end of the run. */
  readonly createDatabase: () => MongoTestDatabase;
}

type Found = { readonly mongo: TestMongo } | { readonly mongo: null; readonly reason: string };

const urlOfDatabase = (serverUrl: string, name: string): string => {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
};

const makeTestMongo = (url: string, source: string, runId: string): TestMongo => ({
  url,
  source,
  createDatabase: () => {
    const name = namePrefix(runId) + randomBytes(5).toString("hex");
    const drop = async (): Promise<void> => {
      await using client = new MongoClient(url, { serverSelectionTimeoutMS: 10_000 });
      await client.db(name).dropDatabase();
    };
    return { url: urlOfDatabase(url, name), name, drop, [Symbol.asyncDispose]: drop };
  },
});

const find = async (): Promise<Found> => {
  const shared = sharedRun();
  if (shared !== null) {
    const { mongo, runId, mongoReason } = shared;
    if (mongo === null) return { mongo: null, reason: mongoReason ?? "none was started" };
    return { mongo: makeTestMongo(mongo.url, mongo.source, runId) };
  }
  const opened = await openMongoService((line) => console.log(line));
  if (opened.service === null) return { mongo: null, reason: opened.reason };
  const runId = newRunId();
  // The other kinds end with this process, because their input closes.
  if (opened.service.outlivesRun) startJanitor({ PGSTREAM_JANITOR_MONGO_URL: opened.service.url }, runId);
  return { mongo: makeTestMongo(opened.service.url, opened.service.source, runId) };
};

let found: Promise<Found> | undefined;

/** `describe`, when there is a Mongo server. Await it at the top of the test file. */
export const describeWithMongo = async (title: string, body: (mongo: TestMongo) => void): Promise<void> => {
  const result = await (found ??= find());
  if (result.mongo !== null) {
    const { mongo } = result;
    describe(title, () => body(mongo));
    return;
  }
  const { reason } = result;
  console.warn(`SKIPPED ${title}: no Mongo server: ${reason}`);
  if (isCi()) {
    test(`${title}: needs a Mongo server`, () => {
      throw new Error(reason);
    });
  }
  const absent = makeTestMongo("mongodb://absent.invalid/", "none", "none");
  describe.skip(`${title} (no Mongo server)`, () => body(absent));
};
