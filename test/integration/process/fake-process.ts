//! pgstream with roles that need nothing from outside: a child process for process.test.ts.

import { Elysia } from "elysia";

import { PgstreamError } from "../../../src/core/errors.ts";
import { main } from "../../../src/main.ts";
import type { Role } from "../../../src/roles/role.ts";
import { makeServe } from "../../../src/roles/serve.ts";

const quiet: Role = async ({ logger }) => {
  const done = Promise.withResolvers<void>();
  return await Promise.resolve({
    status: () => ({ ready: true, reason: null, details: {} }),
    routes: new Elysia()
      .get("/courses", () => ["algebra"])
      .get("/crash", () => {
        setTimeout(() => {
          throw new Error("nobody catches this");
        }, 0);
      })
      .get("/reject", () => {
        setTimeout(() => void Promise.reject(new Error("nor this")), 0);
      }),
    done: done.promise,
    stop: async () => {
      logger.info({}, "drained");
      done.resolve();
      await done.promise;
    },
  });
};

/** Never finishes draining. */
const stubborn: Role = async (context) => ({
  ...(await quiet(context)),
  stop: async () => {
    context.logger.info({}, "draining");
    await new Promise(() => undefined);
  },
});

const failing: Role = async () =>
  await Promise.reject(new PgstreamError("schema_newer", "the database is newer"));

void main({
  serve: {
    about: "fakes",
    databases: () => [],
    load: async () =>
      await Promise.resolve(
        makeServe({
          consumer: async () => await Promise.resolve(quiet),
          producer: async () => await Promise.resolve(stubborn),
          purger: async () => await Promise.resolve(failing),
        }),
      ),
  },
});
