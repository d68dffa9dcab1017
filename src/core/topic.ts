//! Topic names and the patterns that choose among them.

import { PgstreamError } from "./errors.ts";

/** Kafka's alphabet and length, so that names survive a move; tokens are separated by dots as in NATS. */
const topicName = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const topicLengthMax = 249;

/** The number of a topic in the table `topics`. */
export interface Topic {
  readonly id: number;
  readonly name: string;
}

export const isTopicName = (name: unknown): name is string =>
  typeof name === "string" && name.length <= topicLengthMax && topicName.test(name);

const shown = (name: unknown): string =>
  typeof name === "string" ? JSON.stringify(name.slice(0, 80)) : `(${name === null ? "null" : typeof name})`;

/**
 * Returns `name` when it is a topic name: tokens of letters, digits, `_` and `-`, separated by dots, at most
 * 249 characters.
 * @throws PgstreamError `invalid_topic`
 */
export const parseTopicName = (name: unknown): string => {
  if (isTopicName(name)) return name;
  throw new PgstreamError(
    "invalid_topic",
    `topic ${shown(name)} is not a name: use letters, digits, "_" and "-", with dots between tokens, at most ${topicLengthMax} characters`,
  );
};

/** Which topics a subscription wants; made by {@link parseTopicPatterns}. */
export interface TopicFilter {
  /** The patterns as given, for logs. */
  readonly patterns: readonly string[];
  /** True when every topic matches: the reader then asks for no topic in particular. */
  readonly all: boolean;
  readonly matches: (name: string) => boolean;
}

const matchesTokens = (pattern: readonly string[], name: readonly string[]): boolean => {
  for (const [index, token] of pattern.entries()) {
    if (token === ">") return name.length > index;
    if (index >= name.length || (token !== "*" && token !== name[index])) return false;
  }
  return pattern.length === name.length;
};

/**
 * Parses subscription patterns, as NATS spells them: `*` stands for one token, a last `>` for one or more;
 * `courses.*` wants `courses.created`, `>` wants everything.
 * @throws PgstreamError `invalid_topic` for an empty list or an ill-formed pattern
 */
export const parseTopicPatterns = (patterns: readonly string[]): TopicFilter => {
  if (patterns.length === 0) {
    throw new PgstreamError("invalid_topic", 'no topics: name at least one, or use ">" for all');
  }
  const names = new Set<string>();
  const wild: (readonly string[])[] = [];
  for (const pattern of patterns) {
    if (typeof pattern !== "string") parseTopicName(pattern);
    const tokens = pattern.split(".");
    // What is left must be a name.
    const named = tokens.map((it, at) => (it === "*" || (it === ">" && at === tokens.length - 1) ? "x" : it));
    if (named.some((it) => /[*>]/.test(it))) {
      throw new PgstreamError(
        "invalid_topic",
        `topic pattern ${shown(pattern)} is not one: "*" stands for a whole token, and ">" for all that follow, at the end`,
      );
    }
    parseTopicName(named.join("."));
    if (tokens.some((it) => it === "*" || it === ">")) wild.push(tokens);
    else names.add(pattern);
  }
  return {
    patterns: [...patterns],
    all: patterns.includes(">"),
    matches: (name) => names.has(name) || wild.some((pattern) => matchesTokens(pattern, name.split("."))),
  };
};
