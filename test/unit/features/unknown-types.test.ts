import { expect, test } from "bun:test";

import type { LogFields, Logger } from "../../../src/core/ports.ts";
import { makeUnknownTypes } from "../../../src/features/unknown-types.ts";

const recordingLogger = () => {
  const warnings: LogFields[] = [];
  const ignore = (): void => {};
  const logger: Logger = {
    debug: ignore,
    info: ignore,
    error: ignore,
    warn: (fields) => void warnings.push(fields),
    child: () => logger,
  };
  return { logger, warnings };
};

test("unknown types are counted each time and logged once each", () => {
  const { logger, warnings } = recordingLogger();
  const unknown = makeUnknownTypes(logger);
  const one = { topic: "courses", type: "One" };
  const other = { topic: "policies", type: "One" };
  unknown.note([one, other, one]);
  unknown.note([one]);
  expect(unknown.count()).toBe(4);
  expect(warnings).toEqual([one, other]);
});

test("a publisher that makes up a type for each event cannot fill the log", () => {
  const { logger, warnings } = recordingLogger();
  const unknown = makeUnknownTypes(logger);
  unknown.note(Array.from({ length: 5_000 }, (_, at) => ({ topic: "courses", type: `T${at}` })));
  expect(unknown.count()).toBe(5_000);
  expect(warnings).toHaveLength(1_001);
});
