//! A program: a real mongod by mongodb-memory-server, which downloads it when it is not cached. Prints its URL, and ends
//! when its input closes. A process of its own, because a download that hangs cannot be called off.

import { MongoMemoryServer } from "mongodb-memory-server-core";

import { messageOf } from "../../src/core/errors.ts";

const start = async (): Promise<MongoMemoryServer> => {
  try {
    return await MongoMemoryServer.create();
  } catch (error) {
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
process.exit(0);
