import { expect, test } from "bun:test";

import { MongoClient } from "mongodb";

import { describeWithMongo } from "../support/mongo.ts";

await describeWithMongo("the Mongo server of the run", (mongo) => {
  test("gives each test a database of its own and drops it", async () => {
    await using client = new MongoClient(mongo.url);
    const database = mongo.createDatabase();
    await using own = new MongoClient(database.url);
    const receipts = own.db().collection<{ _id: string }>("receivedEvents");
    await receipts.insertOne({ _id: "1" });
    expect(own.db().databaseName).toBe(database.name);
    expect(await receipts.insertOne({ _id: "1" }).catch((error: { code: number }) => error.code)).toBe(
      11_000,
    );
    await database.drop();
    const { databases } = await client.db("admin").admin().listDatabases();
    expect(databases.map(({ name }) => name)).not.toContain(database.name);
  });
});
