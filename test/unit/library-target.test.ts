//! What an application gives as `database`: refused at once where it could not be meant.

import { describe, expect, test } from "bun:test";

import { openPublisher } from "../../src/library/publisher.ts";

describe("a database that is no address, or asks for TLS in a way that is not obeyed, is refused at once", () => {
  test.each([
    "",
    "nonsense",
    "mysql://db/app",
    "postgres://db/app?sslmode=require",
    "postgres://db/app?application_name=x&ssl=true",
  ])("%p", (database) => {
    expect(() => openPublisher({ database })).toThrow(expect.objectContaining({ code: "invalid_config" }));
  });
});
