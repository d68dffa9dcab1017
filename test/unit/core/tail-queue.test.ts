//! What waits for a member of the tail: short where nothing is wanted, and never a window that is two halves of others.

import { describe, expect, test } from "bun:test";

import { atRest, type Cursor, inWindow } from "../../../src/core/cursor.ts";
import { eventOf } from "../../../src/core/event.ts";
import { makeSnapshot } from "../../../src/core/snapshot.ts";
import { TailQueue, type TailWindow } from "../../../src/core/tail/tail-queue.ts";
import { parseTopicPatterns } from "../../../src/core/topic.ts";

const epoch = { id: "e", number: 1, firstId: 1n, snapshot: makeSnapshot(3n, []) };

const restAt = (xmax: bigint): Cursor => ({
  epoch: epoch.id,
  purge: 0n,
  seen: makeSnapshot(xmax, []),
  window: null,
});

const makeQueue = (limits = { eventsMax: 100, bytesMax: 10_000 }): TailQueue => {
  const member = {
    filter: parseTopicPatterns(["wanted"]),
    epoch,
    cursor: restAt(10n),
    pollIntervalMs: 1_000,
    onNews: () => {},
  };
  const queue = new TailQueue(member, limits, { onDrop: () => {}, onClose: () => {} });
  queue.push({ start: restAt(10n), end: restAt(10n), events: [] });
  return queue;
};

const windowOf = (start: Cursor, end: Cursor, topic: string, ...ids: bigint[]): TailWindow => ({
  start,
  end,
  events: ids.map((id) =>
    eventOf(
      { id, topicId: 1, key: null, type: null, headers: null, createdAt: new Date(0), data: "{}" },
      topic,
    ),
  ),
});

const windowsOf = (queue: TailQueue): readonly TailWindow[] => {
  const windows: TailWindow[] = [];
  for (let window = queue.first(); window !== null; window = queue.first()) {
    windows.push(window);
    queue.drop();
  }
  return windows;
};

describe("what waits for a member", () => {
  test("stays short while nothing comes that it wants, and reaches as far as what came", () => {
    const queue = makeQueue();
    for (let n = 10n; n < 60n; n += 1n) {
      const middle = inWindow(restAt(n), restAt(n + 1n).seen, n * 10n);
      queue.push(windowOf(restAt(n), middle, "other", n * 10n));
      queue.push(windowOf(middle, atRest(middle), "other"));
    }
    expect(queue.waiting()).toBeLessThan(5);
    expect(windowsOf(queue).at(-1)?.end).toEqual(restAt(60n));
  });

  test("never begins in the middle of one window and ends in another", () => {
    const queue = makeQueue();
    // The first window's last page was full: behind it comes one without events.
    const middle = inWindow(restAt(10n), restAt(20n).seen, 9n);
    queue.push(windowOf(restAt(10n), middle, "wanted", 8n, 9n));
    queue.push(windowOf(middle, atRest(middle), "other"));
    // Late commits: their ids are below those of the first window.
    const later = inWindow(restAt(20n), restAt(30n).seen, 5n);
    queue.push(windowOf(restAt(20n), later, "wanted", 3n, 4n, 5n));
    queue.push(windowOf(later, atRest(later), "wanted", 6n));
    const windows = windowsOf(queue);
    for (const { start, end } of windows) {
      if (start.window !== null) expect(atRest(end).seen).toEqual(start.window.until);
    }
    expect(windows.flatMap(({ events }) => events.map(({ id }) => id))).toEqual([8n, 9n, 3n, 4n, 5n, 6n]);
    expect(windows.at(-1)?.end).toEqual(restAt(30n));
  });

  test("never passes over what lies between two places where it is told to go on alone", () => {
    const queue = makeQueue();
    const places = [restAt(10n), restAt(20n), restAt(30n), restAt(40n)];
    for (const place of places.slice(1)) queue.push(windowOf(place, place, "wanted"));
    expect(windowsOf(queue).map(({ start, end }) => [start, end])).toEqual(places.map((it) => [it, it]));
  });

  test("puts it out when that is too much, and only then: what it has taken does not count", () => {
    const eventOfBytes = (bytes: number, headers: number): TailWindow["events"][number] =>
      eventOf(
        {
          id: 1n,
          topicId: 1,
          key: null,
          type: null,
          headers: headers === 0 ? null : JSON.stringify({ h: "x".repeat(headers - 8) }),
          createdAt: new Date(0),
          data: `"${"x".repeat(bytes - headers - 2)}"`,
        },
        "wanted",
      );
    const tenEach: Readonly<Record<string, TailWindow["events"]>> = {
      events: Array.from({ length: 10 }, () => eventOfBytes(2, 0)),
      data: [eventOfBytes(1_000, 0)],
      headers: [eventOfBytes(1_000, 900)],
    };
    for (const [what, events] of Object.entries(tenEach)) {
      const queue = makeQueue({ eventsMax: 30, bytesMax: 3_000 });
      let at = 10n;
      const push = (): void => {
        queue.push({ start: restAt(at), end: restAt(at + 1n), events });
        at += 1n;
      };
      queue.drop();
      for (let round = 0; round < 5; round += 1) {
        for (let n = 0; n < 3; n += 1) push();
        expect([what, queue.isOpen(), windowsOf(queue).length]).toEqual([what, true, 3]);
      }
      for (let n = 0; n < 4; n += 1) push();
      expect([what, queue.isOpen(), queue.first()]).toEqual([what, false, null]);
    }
  });
});
