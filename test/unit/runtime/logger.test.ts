import { describe, expect, test } from "bun:test";

import { openLogger, type LoggerOptions } from "../../../src/adapters/runtime/logger.ts";
import { makeRedact } from "../../../src/adapters/runtime/redact.ts";
import { PgstreamError } from "../../../src/core/errors.ts";

const open = async (options: Partial<LoggerOptions> = {}) => {
  const lines: string[] = [];
  const logger = await openLogger(
    { level: "info", format: "json", isColored: false, secrets: [], ...options },
    { write: (line) => lines.push(line) },
  );
  const last = (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? "") as Record<string, unknown>;
  return { logger, lines, last };
};

describe("the log", () => {
  test("is one JSON object per line, with level, time, message and fields", async () => {
    const { logger, lines, last } = await open();
    logger.child({ role: "consumer" }).info({ events: 3 }, "a batch\nwas handled");
    expect(lines).toHaveLength(1);
    expect(lines[0]?.trimEnd()).not.toContain("\n");
    expect(last()).toMatchObject({ level: "info", role: "consumer", events: 3, msg: "a batch\nwas handled" });
    expect(Number.isNaN(Date.parse(String(last()["time"])))).toBeFalse();
  });

  test("leaves out what is below its level", async () => {
    const { logger, lines } = await open({ level: "warn" });
    logger.info({}, "quiet");
    logger.warn({}, "loud");
    expect(lines).toHaveLength(1);
  });

  test("keeps all digits of an id", async () => {
    const { logger, lines } = await open();
    logger.info({ id: 2n ** 63n - 1n }, "far");
    expect(lines[0]).toContain("9223372036854775807");
  });

  test("has no say in the work: where nothing can be written, on a full disk say, it is silent", async () => {
    const full = {
      write: () => {
        throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
      },
    };
    const logger = await openLogger({ level: "info", format: "json", isColored: false, secrets: [] }, full);
    expect(() => logger.info({}, "unheard")).not.toThrow();
  });

  test("survives fields that lead back to themselves", async () => {
    const loop: Record<string, unknown> = {};
    loop["loop"] = loop;
    const cause = new Error("inner");
    cause.cause = cause;
    const { logger, lines } = await open();
    logger.error({ loop, error: cause }, "round and round");
    expect(lines).toHaveLength(1);
  });

  test.each(["error", "err", "reason"])(
    "takes only known fields of an error called %s: drivers hang data on theirs",
    async (name) => {
      const cause = Object.assign(new Error("duplicate key"), {
        code: "23505",
        detail: "Key (email)=(a@b) already exists",
        query: "insert into people",
        parameters: ["a@b"],
      });
      const { logger, lines, last } = await open();
      logger.error({ [name]: new PgstreamError("database_error", "cannot publish", { cause }) }, "failed");
      expect(last()[name]).toMatchObject({
        code: "database_error",
        message: "cannot publish",
        cause: { code: "23505", message: "duplicate key" },
      });
      expect(lines[0]).not.toContain("a@b");
      expect(lines[0]).not.toContain("insert into");
    },
  );

  test.each(["json", "pretty"] as const)("stars out secrets in %s, wherever they turn up", async (format) => {
    const url = 'postgres://postgres:long"secret%40@db/eventsdb';
    const { logger, lines } = await open({ format, secrets: [url, "correct horse battery"] });
    logger.info({ where: url, error: new Error("correct horse battery") }, "postgres://a:b@c");
    logger.child({ note: 'long"secret@' }).info({ url: "x", password: "y" }, "again");
    const all = lines.join("");
    for (const secret of ["secret", "correct horse", "a:b@", '"y"']) expect(all).not.toContain(secret);
  });
});

describe("redaction", () => {
  test("leaves sentences alone that only mention a short secret", () => {
    expect(makeRedact(["password"])("password authentication failed")).toBe("password authentication failed");
  });

  test("takes the password out of any URL, even one that is not well formed, and leaves the rest readable", () => {
    const redact = makeRedact([]);
    expect(redact("at mongodb://mongo:x@h:1/db and http://h:80/a")).toBe(
      "at mongodb://mongo:***@h:1/db and http://h:80/a",
    );
    expect(redact("postgres://u:p@ss/w:ord@h/db")).toBe("postgres://u:***@h/db");
  });
});
