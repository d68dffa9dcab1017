import { describe, expect, test } from "bun:test";

import type { Access, Group } from "../../src/adapters/postgres/migrate/access.ts";
import { type Held, planGrants, type SecuredObject } from "../../src/adapters/postgres/migrate/grant-plan.ts";
import { hasCode } from "../../src/core/errors.ts";

/** Of `role privilege`. */
const holding = (...lines: readonly string[]): readonly Held[] =>
  lines.map((line) => {
    const [role = "", ...privilege] = line.split(" ");
    return { role, privilege: privilege.join(" ") };
  });

const nobody: Access = { select: [], execute: [] };
const access: Readonly<Record<Group, Access>> = {
  pgstream_producer: { select: [], execute: ["publish"] },
  pgstream_consumer: { select: ["events"], execute: [] },
  pgstream_purger: nobody,
};
const events: SecuredObject = { kind: "table", name: "events", identity: "pgstream.events", held: [] };
const publish: SecuredObject = {
  kind: "routine",
  name: "publish",
  identity: "pgstream.publish(text)",
  held: [],
};

describe("planning grants", () => {
  test("gives each group what the table says, and nothing else", () => {
    expect(planGrants([events, publish], access)).toEqual([
      `grant select on table pgstream.events to "pgstream_consumer"`,
      `grant execute on routine pgstream.publish(text) to "pgstream_producer"`,
    ]);
  });

  test("takes back what the table does not say, from everybody too", () => {
    const held = holding("pgstream_consumer select", "pgstream_consumer delete", "public select");
    expect(planGrants([{ ...events, held }, publish], access)).toEqual([
      `revoke delete on table pgstream.events from "pgstream_consumer" cascade`,
      `revoke select on table pgstream.events from public cascade`,
      `grant execute on routine pgstream.publish(text) to "pgstream_producer"`,
    ]);
  });

  test("takes back single columns and the right to pass on what was given", () => {
    const held = holding(
      "pgstream_consumer select",
      "pgstream_consumer select (data)",
      "pgstream_consumer grant option for select",
    );
    expect(
      planGrants(
        [
          { ...events, held },
          { ...publish, held: holding("pgstream_producer execute") },
        ],
        access,
      ),
    ).toEqual([
      `revoke select (data) on table pgstream.events from "pgstream_consumer" cascade`,
      `revoke grant option for select on table pgstream.events from "pgstream_consumer" cascade`,
    ]);
  });

  test("has nothing to do where all is well", () => {
    const schema: SecuredObject = {
      kind: "schema",
      name: "pgstream",
      identity: "pgstream",
      held: holding("pgstream_producer usage", "pgstream_consumer usage", "pgstream_purger usage"),
    };
    const objects = [
      schema,
      { ...events, held: holding("pgstream_consumer select") },
      { ...publish, held: holding("pgstream_producer execute") },
    ];
    expect(planGrants(objects, access)).toEqual([]);
  });

  test("covers every overload of a function", () => {
    const other = { ...publish, identity: "pgstream.publish(json)" };
    expect(planGrants([events, publish, other], access)).toHaveLength(3);
  });

  test("refuses a table that names what the schema lacks", () => {
    for (const objects of [[events], [publish]]) {
      let error: unknown;
      try {
        planGrants(objects, access);
      } catch (thrown) {
        error = thrown;
      }
      expect(hasCode(error, "internal")).toBeTrue();
    }
  });
});
