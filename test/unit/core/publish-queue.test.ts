import { describe, expect, test } from "bun:test";

import { encodeEvent } from "../../../src/core/event.ts";
import {
  makePublishQueue,
  type QueueLimits,
  type WaitingCall,
} from "../../../src/core/publish/publish-queue.ts";

interface NamedCall extends WaitingCall {
  readonly name: string;
}

/** `a1` is a call with an event of key a, `ab1` one with an event each of a and b; `-1` has no key. */
const call = (name: string): NamedCall => {
  const keys = Array.from(name.replaceAll(/\d/g, ""));
  const events = keys.map((key) =>
    encodeEvent({ topic: "t", ...(key === "-" ? {} : { key }), data: name }, 1_000),
  );
  return { name, events, bytes: 10 * events.length };
};

const setup = (limits: Partial<QueueLimits> = {}) => {
  const queue = makePublishQueue<NamedCall>({
    lanes: 2,
    batchEventsMax: 100,
    batchBytesMax: 10_000,
    furtherLaneEventsMin: 1,
    ...limits,
  });
  return {
    queue,
    push: (names: string): void => {
      for (const name of names.split(" ")) queue.push(call(name));
    },
    take: (lane: number, isLate = false): string =>
      queue
        .take(lane, isLate)
        .map(({ name }) => name)
        .join(" "),
  };
};

test("one lane takes everything in order, up to the limits of a batch", () => {
  const { queue, push, take } = setup({ lanes: 1, batchEventsMax: 3 });
  push("a1 b2 a3 abcde4 a5");
  expect(take(0)).toBe("a1 b2 a3");
  queue.release(0);
  expect(take(0)).toBe("abcde4"); // never split, however large
  queue.release(0);
  expect([take(0), queue.isEmpty()]).toEqual(["a5", true]);
});

test("bytes are a limit of their own", () => {
  const { push, take } = setup({ lanes: 1, batchBytesMax: 25 });
  push("a1 b2 c3");
  expect(take(0)).toBe("a1 b2");
});

describe("a call stays while one of its keys", () => {
  test("is out on another lane, and goes when that one has been released", () => {
    const { queue, push, take } = setup();
    push("a1");
    expect(take(0)).toBe("a1");
    push("a2 b3");
    expect(take(1)).toBe("b3");
    queue.release(0);
    expect(take(0)).toBe("a2");
  });

  test("is that of an earlier call that has to stay, so that nobody overtakes and everybody gets a turn", () => {
    const { queue, push, take } = setup();
    push("a1");
    take(0);
    push("ab2 bc3 c4 d5");
    expect(take(1)).toBe("d5"); // b waits behind ab2, and c behind bc3
    queue.release(0);
    expect(take(0)).toBe("ab2 bc3 c4");
  });

  test("is none: then the topic counts as its key", () => {
    const { push, take } = setup();
    push("-1");
    take(0);
    push("-2 t3");
    expect(take(1)).toBe("t3");
  });
});

test("what stays keeps its place in front of what comes later, however often it is passed over", () => {
  const { queue, push, take } = setup();
  push("a1");
  take(0);
  for (let n = 0; n < 50; n += 1) {
    push(`a${n} b${n}`);
    expect(take(1)).toBe(`b${n}`);
    queue.release(1);
  }
  queue.release(0);
  expect(take(0)).toBe(
    Array.from({ length: 50 }, (_, n) => `a${n}`)
      .slice(0, 25)
      .join(" "),
  );
  expect(take(1)).toBe("");
});

test("a further lane goes out for half of what the other carries, and not for less", () => {
  const { push, take } = setup({ furtherLaneEventsMin: 2 });
  push("abcdefghij1");
  expect(take(0)).toBe("abcdefghij1");
  push("k2 l3 m4 n5");
  expect(take(1)).toBe("");
  push("o6");
  expect(take(1)).toBe("k2 l3 m4 n5 o6");
});

describe("lanes that are free", () => {
  test("share what waits when each share is worth a lane", () => {
    const { push, take } = setup({ furtherLaneEventsMin: 3 });
    push("a1 b2 c3 d4 e5 f6");
    expect([take(0), take(1)]).toEqual(["a1 b2 c3", "d4 e5 f6"]);
  });

  test("leave it to one when it is not", () => {
    const { push, take } = setup({ furtherLaneEventsMin: 3 });
    push("a1 b2 c3 d4 e5");
    expect([take(0), take(1)]).toEqual(["a1 b2 c3 d4 e5", ""]);
  });

  test("go out beside another only for enough that may go, and then all of it goes", () => {
    const { queue, push, take } = setup({ furtherLaneEventsMin: 3 });
    push("a1");
    take(0);
    push("a2 b3 c4");
    expect(take(1)).toBe(""); // two of three may go
    push("d5");
    expect(take(1)).toBe(""); // not looked at again for every call
    queue.release(0);
    expect(take(0)).toBe("a2 b3 c4 d5");
  });
});

test("no more than a thousand calls that must stay are passed over in search of others", () => {
  const { push, take } = setup();
  push("a1");
  take(0);
  push(Array.from({ length: 1_000 }, () => "a2").join(" "));
  push("b3");
  expect(take(1)).toBe("");
});

describe("behind a lane that is late", () => {
  const numbered = (count: number): string => Array.from({ length: count }, (_, n) => `a${n}`).join(" ");

  test("any number of calls is passed over, and goes in order when it comes back", () => {
    const { queue, push, take } = setup({
      batchEventsMax: 5_000,
      batchBytesMax: 50_000,
      furtherLaneEventsMin: 256,
    });
    push("a");
    take(0);
    push(`${numbered(3_000)} b`);
    expect([take(1), take(1, true)]).toEqual(["", "b"]);
    push("a3000 c");
    queue.release(1);
    expect(take(1, true)).toBe("c");
    queue.release(0);
    push("a3001");
    expect(take(0)).toBe(numbered(3_002));
    queue.release(0);
    expect([take(0), queue.isEmpty()]).toEqual(["", true]);
  });

  test("what waits is not empty, and holds its keys against a look that is not late", () => {
    const { queue, push, take } = setup({ lanes: 3, furtherLaneEventsMin: 2 });
    push("a1");
    take(0);
    push("ab2");
    expect([take(1), take(1, true), queue.isEmpty()]).toEqual(["", "", false]);
    push("c3 d4");
    expect(take(1)).toBe("c3 d4");
    push("b5 e6 f7");
    expect(take(2)).toBe("e6 f7");
    queue.release(0);
    expect(take(0)).toBe("ab2 b5");
    for (const lane of [0, 1, 2]) queue.release(lane);
    push("a1 b2 c3 d4 e5 f6");
    expect([take(0), take(1), take(2)]).toEqual(["a1 b2", "c3 d4", "e5 f6"]);
  });

  test("a call goes when the one that it waits for comes back, though others stay out", () => {
    const { queue, push, take } = setup({ lanes: 3 });
    push("a1");
    take(0);
    push("b2");
    take(1);
    push("b3 a4");
    expect(take(2, true)).toBe("");
    queue.release(1);
    expect(take(1, true)).toBe("b3");
  });

  test("each call is looked at once, whatever comes and goes meanwhile", () => {
    const { queue, push, take } = setup();
    let looks = 0;
    push("a");
    take(0);
    const [event] = call("a").events;
    for (let n = 0; n < 500; n += 1) {
      queue.push({
        name: "a",
        bytes: 10,
        get events() {
          looks += 1;
          return event === undefined ? [] : [event];
        },
      });
      push(`b${n}`);
      expect(take(1, true)).toBe(`b${n}`);
      expect(take(1, true)).toBe("");
      queue.release(1);
    }
    expect(looks).toBeLessThan(500 * 6);
  });
});

test("nothing is kept of what has been sent", () => {
  const { queue, take } = setup({ furtherLaneEventsMin: 1 });
  const sent: WeakRef<NamedCall>[] = [];
  for (let n = 0; n < 1_000; n += 1) {
    const it = call(`a${n}`);
    sent.push(new WeakRef(it));
    queue.push(it);
    take(0);
    queue.release(0);
  }
  Bun.gc(true);
  expect(sent.filter((it) => it.deref() !== undefined).length).toBeLessThan(100);
});
