//! What the log forgets besides events: ticks, idempotency keys and publishers.

import { describe, expect, test } from "bun:test";

import { openTestClient, readerFromStart } from "../support/log-database.ts";
import { dayMs, openBench } from "../support/purging.ts";

const retentionMs = 7 * dayMs;

describe("forgetting", () => {
  test("keeps the newest tick that is older than all events, and those after it", async () => {
    await using log = await openBench();
    for (let n = 0; n < 6; n += 1) {
      await log.publish("courses");
      await log.pass(n < 4 ? "10 days" : "1 hour");
    }
    expect(await log.purging.forget(retentionMs, 2)).toBe(2);
    expect(await log.purging.forget(retentionMs, 2)).toBe(1);
    expect(await log.purging.forget(retentionMs, 2)).toBe(0);
    expect(await log.sql`select from pgstream.ticks`).toHaveLength(3);
  });

  test("keeps the ticks that the longest-lived topic needs, whatever others there are", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.setRetention("archive", "30 days");
    for (let n = 0; n < 3; n += 1) {
      await log.publish("courses");
      await log.pass("20 days");
    }
    expect(await log.purging.forget(retentionMs, 10)).toBe(1);
    expect(await log.sql`select from pgstream.ticks`).toHaveLength(2);
  });

  test("by no retention, or by no number of rows, forgets nothing; nor does the log roll by no age and no size", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 ms");
    for (let n = 0; n < 3; n += 1) {
      await log.publish("courses");
      await log.pass("1 hour");
    }
    const [row] = await log.sql`
      select pgstream.forget(null, 10) as by_no_age, pgstream.forget('1 ms', null) as by_no_number,
        pgstream.roll_segment(null, null) as rolled`;
    expect(row).toEqual({ by_no_age: 0, by_no_number: 0, rolled: false });
  });

  test("of ticks loses no event of a reader that stopped anywhere", async () => {
    await using log = await openBench();
    const ids: bigint[] = [];
    for (let n = 0; n < 8; n += 1) {
      ids.push(...(await log.publish("courses", 5)));
      await log.pass("2 days");
    }
    await using other = openTestClient(log.url);
    const reader = await readerFromStart(other, { batchEventsMax: 3, pageEventsMax: 3 });
    const read: bigint[] = [];
    for (let batch = await reader.next(); batch !== null; batch = await reader.next()) {
      read.push(...batch.events.map(({ id }) => id));
      await log.purging.forget(1, 1);
      if (read.length % 2 === 0) await log.sql`delete from pgstream.ticks where random() < 0.5`;
    }
    expect(read).toEqual(ids);
  });

  test("takes idempotency keys past their window, at most so many at once, and no other", async () => {
    await using log = await openBench();
    const publish = async (key: string) =>
      await log.sql`select pgstream.publish('courses', '{}', idempotency_key => ${key})`;
    for (const n of [1, 2, 3, 4, 5]) await publish(`old-${n}`);
    await log.sql`update pgstream.idempotency_keys set at = now() - interval '25 hours'`;
    await publish("young");
    expect(await log.purging.forget(retentionMs, 3)).toBe(3);
    expect(await log.purging.forget(retentionMs, 3)).toBe(2);
    expect(await log.purging.forget(retentionMs, 3)).toBe(0);
    expect(await log.sql`select key from pgstream.idempotency_keys`).toMatchObject([{ key: "young" }]);
  });

  test("takes publishers that have been silent for a week, unless the server is too young to know", async () => {
    await using log = await openBench();
    await log.sql`
      insert into pgstream.publishers (id, batch, xid, at)
      select gen_random_uuid(), 1, '3', now() - (n || ' days')::interval from generate_series(1, 12) n`;
    await log.sql`update pgstream.settings set idempotency_window = '8 days'`;
    expect(await log.purging.forget(retentionMs, 100)).toBe(0);
    await log.sql`update pgstream.settings set idempotency_window = '1 ms'`;
    expect(await log.purging.forget(retentionMs, 4)).toBe(4);
    expect(await log.purging.forget(retentionMs, 4)).toBe(2);
    expect(await log.sql`select from pgstream.publishers`).toHaveLength(6);
  });
});
