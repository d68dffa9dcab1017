//! A program: a real mongod by mongodb-memory-server, which downloads it when it is not cached. Prints its URL, and ends
//! when its input closes. A process of its own, because a download that hangs cannot be called off.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { MongoMemoryServer } from "mongodb-memory-server-core";

import { messageOf } from "../../src/core/errors.ts";

// Given by us: the one it makes for itself stays behind when the download fails.
const dbPath = await mkdtemp(join(tmpdir(), "pgstream-mongo-"));

const start = async (): Promise<MongoMemoryServer> => {
  try {
    return await MongoMemoryServer.create({ instance: { dbPath } });
  } catch (error) {
    await rm(dbPath, { recursive: true, force: true });
    console.error(messageOf(error));
    process.exit(1);
  }
};

const server = await start();
console.log(server.getUri());
for await (const _ of Bun.stdin.stream()) {
  // nothing is ever said; only the end counts
}
await server.stop();
await rm(dbPath, { recursive: true, force: true });
process.exit(0);
