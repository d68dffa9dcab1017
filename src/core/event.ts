//! What goes in and what comes out of the log.

import { PgstreamError } from "./errors.ts";
import { parseTopicName } from "./topic.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/**
 * An event as its publisher describes it. Null is as good as absent, so that an {@link Event} can be passed on as it is; with
 * `data: new RawJson(event.json)` its bytes are kept, numbers beyond 2^53 among them.
 */
export interface EventDraft {
  readonly topic: string;
  /** Anything `JSON.stringify` takes, or {@link RawJson} to keep the bytes as they are. */
  readonly data: unknown;
  /** What the event is about; events of one key keep the order of their writers. 1 to 1,024 characters. */
  readonly key?: string | null;
  /** What happened, e.g. `CourseCreated`. 1 to 1,024 characters. */
  readonly type?: string | null;
  readonly headers?: Readonly<Record<string, string>> | null;
  /**
   * Makes publishing the same event again safe, per topic, inside the idempotency window. 1 to 1,024 characters, and at most
   * 2,048 UTF-8 bytes.
   */
  readonly idempotencyKey?: string | null;
}

/** JSON that is already text: published byte for byte. */
export class RawJson {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** An event as the log holds it. */
export interface Event {
  /** Names one event for ever. Ids grow; gaps mean nothing. */
  readonly id: bigint;
  readonly topic: string;
  readonly key: string | null;
  readonly type: string | null;
  readonly headers: Readonly<Record<string, string>> | null;
  /** When the publishing transaction began, by the database's clock. */
  readonly createdAt: Date;
  /** Decoded when first asked for: who only passes an event on never parses it. */
  readonly data: Json;
  /** The publisher's bytes. */
  readonly json: string;
}

/** An event as the table `events` holds it. */
export interface EventRow {
  readonly id: bigint;
  readonly topicId: number;
  readonly key: string | null;
  readonly type: string | null;
  readonly headers: string | null;
  readonly createdAt: Date;
  readonly data: string;
}

/** Gives a row the name of its topic, and decodes it no earlier than asked. */
export const eventOf = (row: EventRow, topic: string): Event => {
  let decoded: Json | undefined;
  return {
    id: row.id,
    topic,
    key: row.key,
    type: row.type,
    headers: row.headers === null ? null : (JSON.parse(row.headers) as Record<string, string>),
    createdAt: row.createdAt,
    json: row.data,
    get data() {
      // JSON is never undefined.
      if (decoded === undefined) decoded = JSON.parse(row.data) as Json;
      return decoded;
    },
  };
};

/** A draft that has been checked and put into the form of the table: text, ready to travel. */
export interface EncodedEvent {
  readonly topic: string;
  readonly data: string;
  readonly key: string | null;
  readonly type: string | null;
  readonly headers: string | null;
  readonly idempotencyKey: string | null;
  /** UTF-8 bytes, near enough for limits: data, headers and names. */
  readonly bytes: number;
}

const textLengthMax = 1_024;
// Control characters are refused: they separate values on the wire, and nobody can read them in a log.
// oxlint-disable-next-line no-control-regex
const controlCharacter = /[\u0000-\u001f\u007f]/;

/** In characters, as the database counts them. */
const lengthOf = (text: string): number =>
  text.length > textLengthMax && text.length <= 2 * textLengthMax ? Array.from(text).length : text.length;

// What these are given is typed, and yet looked at: not every caller has a type checker.
const parseText = (what: string, value: unknown): string | null => {
  if (value === undefined || value === null) return null;
  if (
    typeof value === "string" &&
    value.length >= 1 &&
    lengthOf(value) <= textLengthMax &&
    !controlCharacter.test(value) &&
    value.isWellFormed()
  ) {
    return value;
  }
  throw new PgstreamError(
    "invalid_event",
    `${what} must be 1 to ${textLengthMax} characters of well-formed text without control characters`,
  );
};

/** The database looks it up in an index, which takes no longer ones. */
const idempotencyKeyBytesMax = 2_048;

const parseIdempotencyKey = (value: unknown): string | null => {
  const key = parseText("idempotencyKey", value);
  if (key === null || Buffer.byteLength(key) <= idempotencyKeyBytesMax) return key;
  throw new PgstreamError(
    "invalid_event",
    `idempotencyKey has ${Buffer.byteLength(key)} UTF-8 bytes, more than the ${idempotencyKeyBytesMax} that an index takes`,
  );
};

/** The text itself, when it is JSON. A lone surrogate would be replaced on its way: those bytes could not be kept. */
const checkedJson = ({ text }: RawJson): string => {
  JSON.parse(text);
  if (!text.isWellFormed()) throw new SyntaxError("a lone surrogate in JSON text");
  return text;
};

/** In our own words: those of the engine, or of a `toJSON`, may hold event data. */
const whyNotJson = (cause: unknown): string => {
  if (cause instanceof SyntaxError) return "the text of a RawJson is not well-formed";
  const message = cause instanceof Error ? cause.message : "";
  if (/cyclic|circular/.test(message)) return "it is circular";
  if (/BigInt/.test(message)) return "it holds a BigInt; give a number or a string instead";
  return cause instanceof RangeError ? "it is too deep or too large" : "its toJSON or a getter failed";
};

const encodeJson = (what: string, value: unknown): string => {
  let text: string | undefined;
  try {
    text = value instanceof RawJson ? checkedJson(value) : JSON.stringify(value);
  } catch (cause) {
    throw new PgstreamError("invalid_event", `${what} is not JSON: ${whyNotJson(cause)}`, { cause });
  }
  if (text === undefined) {
    throw new PgstreamError("invalid_event", `${what} is not JSON: it is undefined, a function or a symbol`);
  }
  return text;
};

const areTexts = (headers: unknown): boolean =>
  typeof headers === "object" &&
  headers !== null &&
  !Array.isArray(headers) &&
  Object.values(headers).every((it) => typeof it === "string");

const encodeHeaders = (topic: string, headers: unknown): string | null => {
  if (headers === undefined || headers === null) return null;
  const what = `headers of an event on topic ${topic}`;
  const text = encodeJson(what, headers);
  if (areTexts(JSON.parse(text))) return text;
  throw new PgstreamError("invalid_event", `${what} must be an object of names and texts`);
};

const refuseWhatIsNone = (draft: unknown): void => {
  if (typeof draft === "object" && draft !== null && !Array.isArray(draft)) return;
  const given = draft === null ? "null" : Array.isArray(draft) ? "a list in a list" : typeof draft;
  throw new PgstreamError("invalid_event", `an event is ${given}: give { topic, data }`);
};

const bytesOf = (text: string | null): number => (text === null ? 0 : Buffer.byteLength(text));

/**
 * Checks a draft and encodes it.
 * @param bytesMax the most that one event may weigh, in UTF-8 bytes
 * @throws PgstreamError `invalid_topic`, `invalid_event`, `event_too_large`
 */
export const encodeEvent = (draft: EventDraft, bytesMax: number): EncodedEvent => {
  refuseWhatIsNone(draft);
  const topic = parseTopicName(draft.topic);
  const data = encodeJson(`data of an event on topic ${topic}`, draft.data);
  const headers = encodeHeaders(topic, draft.headers);
  const key = parseText("key", draft.key);
  const type = parseText("type", draft.type);
  const idempotencyKey = parseIdempotencyKey(draft.idempotencyKey);
  const bytes = bytesOf(data) + bytesOf(headers) + bytesOf(topic) + bytesOf(key) + bytesOf(type);
  if (bytes > bytesMax) {
    throw new PgstreamError(
      "event_too_large",
      `an event on topic ${topic} has ${bytes} bytes, more than the ${bytesMax} allowed: raise EVENT_BYTES_MAX (in the library eventBytesMax; for the migrator too) or publish a reference`,
    );
  }
  return { topic, data, key, type, headers, idempotencyKey, bytes };
};
