//! Retention in a log that has been through a failover or a restore: each epoch has transactions, ticks and purges of its own.

import { describe, expect, test } from "bun:test";

import { becomeAnotherServer } from "../support/log-database.ts";
import { dayMs, openBench } from "../support/purging.ts";

const retentionMs = 7 * dayMs;

describe("a segment", () => {
  test("of a later epoch lives as long as its own events, and goes as one of that epoch", async () => {
    await using log = await openBench();
    await log.publish("courses");
    await becomeAnotherServer(log.sql);
    const [first = 0n] = await log.publish("courses");
    await log.sql`update pgstream.epochs set opened_at = opened_at - interval '1 year'`;
    await log.roll();
    const [later = 0n] = await log.publish("courses");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 2, eventsPurged: 1n });
    expect(await log.ids()).toEqual([first, later]);
    await log.pass("8 days");
    expect(await log.round()).toMatchObject({ segmentsEmptied: 1, eventsPurged: 1n });
    expect(await log.ids()).toEqual([later]);
    expect(await log.sql`select epoch from pgstream.purges where segment > 1`).toMatchObject([{ epoch: 2 }]);
  });

  test("of an earlier epoch goes when RETENTION has passed since that epoch ended, as one of that epoch", async () => {
    await using log = await openBench();
    await log.publish("courses");
    // As of servers whose transactions had come further than this one's.
    await log.sql`update pgstream.events set xid = '3000000000'`;
    await log.sql`update pgstream.epochs set opened_at = opened_at - interval '1 year'`;
    await becomeAnotherServer(log.sql);
    const later = await log.publish("courses");
    await log.sql`update pgstream.epochs set snapshot = '2000000000:2000000000:' where number = 2`;
    expect(await log.round()).toMatchObject({ segmentsEmptied: 0, failures: [] });
    await log.sql`update pgstream.epochs set opened_at = opened_at - interval '8 days' where number = 2`;
    expect(await log.round()).toMatchObject({ segmentsEmptied: 2, eventsPurged: 1n, failures: [] });
    expect(await log.ids()).toEqual([...later]);
    expect(await log.sql`select epoch from pgstream.purges`).toMatchObject([{ epoch: 1 }, { epoch: 1 }]);
  });

  test("lives on whatever the ticks of an earlier epoch see, and so does a topic: a server may count its transactions anew", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("courses");
    await log.pass("8 days");
    await becomeAnotherServer(log.sql);
    const ids = [...(await log.publish("courses")), ...(await log.publish("sessions"))];
    await log.sql`update pgstream.epochs set opened_at = opened_at - interval '1 year'`;
    await log.sql`update pgstream.ticks set snapshot = pg_current_snapshot() where epoch = 1`;
    await log.roll();
    ids.push(...(await log.publish("courses")));
    await log.round();
    expect(await log.ids()).toEqual(ids);
  });
});

describe("a topic with a shorter retention", () => {
  test("is trimmed from the first event of the epoch on, and of none of an earlier one", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    const earlier = await log.publish("sessions");
    await becomeAnotherServer(log.sql);
    const [first = 0n] = await log.publish("sessions");
    // As of a restored dump, whose transactions are numbered like those of this server.
    await log.sql`
      update pgstream.events set xid = (select xid from pgstream.events where id = ${String(first)}::bigint)`;
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 1, failures: [] });
    expect(await log.ids()).toEqual([...earlier]);
    expect(await log.sql`select events::text from pgstream.purged_topics`).toMatchObject([{ events: "1" }]);
  });

  test("is trimmed whatever was trimmed or looked through in an earlier epoch", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.setRetention("visits", "1 hour");
    await log.publish("sessions");
    await log.pass("2 hours");
    await log.round();
    expect(await log.sql`select from pgstream.topic_looks`).toHaveLength(1);
    await log.sql`update pgstream.topic_looks set floor = '3000000000:3000000000:'`;
    await log.sql`update pgstream.purges set floor = '3000000000:3000000000:'`;
    await becomeAnotherServer(log.sql);
    await log.publish("sessions");
    await log.publish("visits");
    await log.pass("2 hours");
    expect(await log.round()).toMatchObject({ eventsTrimmed: 2, failures: [] });
  });

  test("is not announced to be trimmed by a server whose epoch is not open yet", async () => {
    await using log = await openBench();
    await log.setRetention("sessions", "1 hour");
    await log.publish("sessions");
    await log.pass("2 hours");
    const [expired] = await log.purging.expiredTopics(retentionMs, { counted: true });
    if (expired === undefined) throw new Error("nothing has expired");
    await becomeAnotherServer(log.sql);
    expect(await log.purging.announceTopicPurge(expired)).toBeNull();
  });
});
