import { describe, expect, test } from "bun:test";

import { PgstreamError } from "../../../src/core/errors.ts";
import { encodeEvent, type EventDraft, eventOf, type EventRow, RawJson } from "../../../src/core/event.ts";

const megabyte = 2 ** 20;
const encode = (draft: Partial<EventDraft>, bytesMax = megabyte) =>
  encodeEvent({ topic: "courses", data: {}, ...draft }, bytesMax);

/** The code of the refusal, null when there was none. */
const refusal = (draft: Partial<EventDraft>, bytesMax?: number): string | null => {
  try {
    encode(draft, bytesMax);
    return null;
  } catch (error) {
    if (error instanceof PgstreamError) return error.code;
    throw error;
  }
};

/** What the refusal says. */
const complaint = (draft: object): string => {
  try {
    encode(draft);
    return "";
  } catch (error) {
    if (error instanceof PgstreamError) return error.message;
    throw error;
  }
};

describe("data", () => {
  test.each([
    ["null", null],
    ["0", 0],
    ['""', ""],
    ["[]", []],
    ['{"a":[1,"ü",null]}', { a: [1, "ü", null] }],
    ['"1970-01-01T00:00:00.000Z"', new Date(0)],
    [String.raw`"\u0000\u001e"`, "\u0000\u001e"],
    [String.raw`"\ud800"`, "\ud800"],
  ])("travels as %s", (text, data) => {
    expect(encode({ data }).data).toBe(text);
  });

  const circular: { self?: unknown } = {};
  circular.self = circular;
  test.each([
    ["undefined", undefined],
    ["a function", () => 1],
    ["a symbol", Symbol("x")],
    ["a BigInt", 1n],
    ["a BigInt deep inside", { a: [1n] }],
    ["a circle", circular],
    [
      "something that fails to say what it is",
      {
        toJSON: () => {
          throw new TypeError("planted");
        },
      },
    ],
  ])("%s is refused", (_, data) => {
    expect(refusal({ data })).toBe("invalid_event");
  });

  test("raw JSON keeps its bytes: big numbers, order, repeated names, spaces", () => {
    for (const text of [
      '{"z":1,"a":12345678901234567890.10,"a":2}',
      "  [1.0, 1e400]\n",
      "null",
      '""',
      "0",
      "false",
      '"\\ud800"',
    ]) {
      expect(encode({ data: new RawJson(text) }).data).toBe(text);
    }
  });

  test.each([
    "",
    "{",
    "undefined",
    "{'a':1}",
    "[1,]",
    "NaN",
    '"\u001e"',
    "{}\u001e{}",
    "\ufeff{}",
    '"\ud800"',
  ])("raw text %p is refused: it is not JSON that could be kept as it is", (text) => {
    expect(refusal({ data: new RawJson(text) })).toBe("invalid_event");
  });
});

describe("what is not JSON is refused with the reason, and with no event data", () => {
  const circular: { secret?: unknown } = {};
  circular.secret = circular;
  let deep: unknown = "secret";
  for (let level = 0; level < 200_000; level += 1) deep = [deep];
  test.each([
    ["it is circular", circular],
    ["it holds a BigInt; give a number or a string instead", { secret: 1n }],
    ["it is too deep or too large", deep],
    ["the text of a RawJson is not well-formed", new RawJson("{secret: 1}")],
    ["it is undefined, a function or a symbol", undefined],
    [
      "its toJSON or a getter failed",
      {
        toJSON: () => {
          throw new TypeError("secret");
        },
      },
    ],
  ])("%s", (reason, data) => {
    expect(complaint({ data })).toBe(`data of an event on topic courses is not JSON: ${reason}`);
  });
});

test("an event that was read can be passed on: null is as good as absent", () => {
  const draft = { key: null, type: null, headers: null, idempotencyKey: null };
  expect(encode(draft)).toEqual(encode({}));
});

describe("what is no event at all is refused in one line", () => {
  test.each([null, undefined, 42, "orders", [[]]])("%j", (draft) => {
    const encodeIt = () => encodeEvent(draft as unknown as EventDraft, megabyte);
    expect(encodeIt).toThrow(expect.objectContaining({ code: "invalid_event" }));
    expect(encodeIt).toThrow("give { topic, data }");
  });
});

describe("key, type and idempotency key", () => {
  const names = ["key", "type", "idempotencyKey"] as const;

  test.each(names)("%s takes 1 to 1,024 characters of any language", (name) => {
    for (const text of ["a", "ключ", "a b,c'\"\\", "🙂", "x".repeat(1_024)]) {
      expect(encode({ [name]: text })[name]).toBe(text);
    }
    expect(encode({})[name]).toBeNull();
  });

  test.each(names)("%s refuses what nobody could read or send", (name) => {
    for (const text of [
      "",
      "x".repeat(1_025),
      "a\u001eb",
      "a\nb",
      "\u0000",
      "\u007f",
      "\ud800",
      "a\udc00",
      42,
      true,
      {},
    ]) {
      expect(refusal({ [name]: text })).toBe("invalid_event");
    }
  });
});

test("length is counted in characters, as the database counts it", () => {
  for (const name of ["key", "type"]) {
    expect(refusal({ [name]: "🙂".repeat(1_025) })).toBe("invalid_event");
    expect(encode({ [name]: "🙂".repeat(1_024) })).toMatchObject({ [name]: "🙂".repeat(1_024) });
  }
});

test("an idempotency key has to fit into an index, too: it takes 2,048 bytes", () => {
  expect(encode({ idempotencyKey: "я".repeat(1_024) }).idempotencyKey).toHaveLength(1_024);
  expect(encode({ idempotencyKey: "🙂".repeat(512) }).idempotencyKey).toHaveLength(1_024);
  expect(refusal({ idempotencyKey: "語".repeat(683) })).toBe("invalid_event");
});

test("a bad topic is refused by its own name", () => {
  for (const topic of ["", "a b", "*", "a\u001eb", undefined, null, 42, ["orders"]]) {
    expect(refusal({ topic } as Partial<EventDraft>)).toBe("invalid_topic");
  }
});

test("headers that are no object of texts are refused", () => {
  for (const headers of [
    "a",
    42,
    true,
    ["a"],
    new Date(0),
    () => 1,
    { a: 1n },
    { a: 1 },
    { a: "b", c: { d: [] } },
  ]) {
    expect(refusal({ headers } as unknown as Partial<EventDraft>)).toBe("invalid_event");
  }
});

test("an event that is too large names the setting and the library's option", () => {
  expect(() => encode({}, 1)).toThrow(/EVENT_BYTES_MAX.* eventBytesMax/);
});

describe("size", () => {
  const roomFor = (draft: Partial<EventDraft>): number => encode(draft).bytes;

  test("counts bytes, not characters, in data", () => {
    expect(roomFor({ data: "🙂".repeat(100) })).toBe(100 * 4 + 2 + "courses".length);
  });

  test("counts bytes, not characters, in headers, key and type", () => {
    const headers = { name: "ü".repeat(100) };
    const bytes = roomFor({ headers, key: "é", type: "é" });
    expect(bytes).toBe(2 + '{"name":""}'.length + 200 + 2 + 2 + "courses".length);
  });

  test("refuses one byte too many and takes the limit itself", () => {
    const bytes = roomFor({ data: "x", headers: { a: "ü" }, key: "k" });
    expect(encode({ data: "x", headers: { a: "ü" }, key: "k" }, bytes).bytes).toBe(bytes);
    expect(refusal({ data: "x", headers: { a: "ü" }, key: "k" }, bytes - 1)).toBe("event_too_large");
  });
});

describe("an event read", () => {
  const row: EventRow = {
    id: 7n,
    topicId: 1,
    key: null,
    type: null,
    headers: '{"a":"b"}',
    createdAt: new Date(0),
    data: '{"n":12345678901234567890}',
  };

  test("has its publisher's bytes beside the decoded data", () => {
    const event = eventOf(row, "courses");
    expect(event.json).toBe(row.data);
    expect(event.headers).toEqual({ a: "b" });
    expect(event.data).toEqual({ n: Number("12345678901234567890") });
    expect(event.data).toBe(event.data);
  });

  test("is not decoded before somebody asks", () => {
    const event = eventOf({ ...row, data: "not JSON" }, "courses");
    expect(event.json).toBe("not JSON");
    expect(() => event.data).toThrow(SyntaxError);
  });

  test("can be published again as it is", () => {
    const { topic, data, headers, key, type } = encode(
      eventOf({ ...row, data: '{"n":1}', headers: null }, "courses"),
    );
    expect({ topic, data, headers, key, type }).toEqual({
      topic: "courses",
      data: '{"n":1}',
      headers: null,
      key: null,
      type: null,
    });
  });

  test("decodes null once, as anything else", () => {
    expect(eventOf({ ...row, data: "null", headers: null }, "courses")).toMatchObject({
      data: null,
      headers: null,
    });
  });
});
