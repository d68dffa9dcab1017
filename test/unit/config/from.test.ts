import { describe, expect, test } from "bun:test";

import { from } from "../../../src/config/from.ts";
import { encodeCursor } from "../../../src/core/cursor-codec.ts";
import type { Cursor } from "../../../src/core/cursor.ts";
import { makeSnapshot } from "../../../src/core/snapshot.ts";

describe("a starting point", () => {
  test.each(["earliest", "latest"] as const)("can be %s", (kind) => {
    expect(from.parse(kind)).toEqual({ value: { kind } });
  });

  test("can be a time, which must name its zone", () => {
    const at = new Date("2026-01-31T08:00:00.000Z");
    expect(from.parse("2026-01-31T09:00:00+01:00")).toEqual({ value: { kind: "time", at } });
    expect(from.parse("2026-01-31T08:00Z")).toEqual({ value: { kind: "time", at } });
    expect(from.parse("2026-01-31T09:00:00")).toHaveProperty("problem");
    expect(from.parse("2026-01-31")).toHaveProperty("problem");
  });

  test("cannot be a day that does not exist", () => {
    expect(from.parse("2028-02-29T00:00:00Z")).toHaveProperty("value");
    expect(from.parse("2026-02-29T00:00:00Z")).toHaveProperty("problem");
    expect(from.parse("2026-00-01T00:00:00Z")).toHaveProperty("problem");
    expect(from.parse("2026-13-01T00:00:00Z")).toHaveProperty("problem");
    expect(from.parse("2026-01-01T24:00:00Z")).toHaveProperty("problem");
  });

  test("can be an id, with all its digits", () => {
    expect(from.parse("id:9223372036854775807")).toEqual({ value: { kind: "id", id: 2n ** 63n - 1n } });
    for (const text of ["id:", "id:-1", "id:1.5", "id:0x10", "id:9223372036854775808", "123"]) {
      expect(from.parse(text)).toHaveProperty("problem");
    }
  });

  test("can be a cursor, which is read here and now", () => {
    const cursor: Cursor = {
      epoch: "00000000-0000-0000-0000-000000000001",
      purge: 0n,
      seen: makeSnapshot(10n, [7n]),
      window: null,
    };
    expect(from.parse(`cursor:${encodeCursor(cursor)}`)).toEqual({ value: { kind: "cursor", cursor } });
    expect(from.parse("cursor:")).toHaveProperty("problem");
    expect(from.parse("cursor:AAAA")).toHaveProperty("problem");
  });
});
