//! Dropping the Mongo databases of a run. All carry the run's id in their name; nothing else is ever dropped.

import { MongoClient } from "mongodb";

import { namePrefix } from "./run-databases.ts";

/** Drops every database that the run made and did not drop itself. */
export const dropRunMongoDatabases = async (url: string, runId: string): Promise<void> => {
  await using client = new MongoClient(url, { serverSelectionTimeoutMS: 10_000 });
  const { databases } = await client.db("admin").admin().listDatabases({ nameOnly: true });
  for (const { name } of databases)
    if (name.startsWith(namePrefix(runId))) await client.db(name).dropDatabase();
};
