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
    take: (lane: number): string =>
      queue
        .take(lane)
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
