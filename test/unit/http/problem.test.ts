import { describe, expect, test } from "bun:test";

import { PgstreamError } from "../../../src/core/errors.ts";
import { problemOf } from "../../../src/http/problem.ts";

const about = (code: PgstreamError["code"]) => problemOf(new PgstreamError(code, "own words"));

describe("a problem", () => {
  test("that the client made is explained in its own words", () => {
    expect(about("invalid_event")).toEqual({ status: 422, code: "invalid_event", message: "own words" });
    expect(about("events_purged").status).toBe(410);
    expect(about("idempotency_conflict").status).toBe(409);
    expect(about("event_too_large").status).toBe(413);
  });

  test("that time may mend asks to try again", () => {
    const { status, message } = about("publish_unknown");
    expect(status).toBe(503);
    expect(message).not.toBe("own words");
  });

  test("that is ours is kept for the log", () => {
    expect(about("internal")).toMatchObject({ status: 500, code: "internal" });
    expect(about("database_error").message).not.toBe("own words");
  });

  test("made of anything else is internal", () => {
    for (const error of [
      new TypeError("own words"),
      "own words",
      null,
      undefined,
      { code: "unknown_topic" },
    ]) {
      expect(problemOf(error)).toMatchObject({ status: 500, code: "internal" });
      expect(problemOf(error).message).not.toBe("own words");
    }
  });
});
