//! What most files of integration tests begin with: a database with the log in it, and hands on it.

import { afterAll, beforeAll } from "bun:test";

import { createLogDatabase } from "./log-database.ts";
import type { TestDatabase } from "./postgres.ts";
import { type Hands, openHands } from "./sessions.ts";

/** There from the first hook of the file that comes after it until the last test has ended. */
export interface LogOfFile {
  readonly url: string;
  readonly name: string;
  readonly hands: Hands;
}

/** Call it once, at the top of a file: one database for all its tests. */
export const useLog = (): LogOfFile => {
  let opened: { readonly database: TestDatabase; readonly hands: Hands } | null = null;
  const get = () => {
    if (opened === null) throw new Error("the database is there in hooks and tests only");
    return opened;
  };
  beforeAll(async () => {
    const database = await createLogDatabase();
    opened = { database, hands: openHands(database.url) };
  }, 60_000);
  afterAll(async () => {
    const { database, hands } = get();
    await hands[Symbol.asyncDispose]();
    await database.drop();
  });
  return {
    get url() {
      return get().database.url;
    },
    get name() {
      return get().database.name;
    },
    get hands() {
      return get().hands;
    },
  };
};
