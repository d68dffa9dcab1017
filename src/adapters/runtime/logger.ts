//! The Logger port on pino: one line per call, on standard output, written before the call returns, so that the last
//! words of a dying process are not lost. No worker thread: it would not survive being compiled into one binary.

import { destination, pino, type DestinationStream, type Logger as Pino } from "pino";

import type { LogFields, Logger } from "../../core/ports.ts";
import { errorFields } from "./error-fields.ts";
import { makeRedact } from "./redact.ts";

export interface LoggerOptions {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly format: "json" | "pretty";
  /** Whether the pretty format may use colours. */
  readonly isColored: boolean;
  /** Texts that must not appear in any line. */
  readonly secrets: readonly string[];
}

const plain = (line: string): string => line;
const plainValue = (value: unknown): unknown => value;

const loadPretty = async (colorize: boolean): Promise<(line: string) => string> => {
  const { prettyFactory } = await import("pino-pretty");
  const pretty = prettyFactory({ colorize, singleLine: true, translateTime: "SYS:HH:MM:ss.l" });
  return (line) => pretty(line);
};

const withoutErrors = (fields: LogFields): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(fields).map(([name, it]) => [name, it instanceof Error ? errorFields(it) : it]),
  );

const wrap = (it: Pino): Logger => ({
  debug: (fields, message) => it.debug(fields, message),
  info: (fields, message) => it.info(fields, message),
  warn: (fields, message) => it.warn(fields, message),
  error: (fields, message) => it.error(fields, message),
  child: (fields) => wrap(it.child(fields)),
});

/**
 * Errors among the fields are cut down to what {@link errorFields} lets through; a bigint keeps all its digits.
 * @param out where lines go; standard output unless told otherwise
 */
export const openLogger = async (
  { level, format, isColored, secrets }: LoggerOptions,
  out: DestinationStream = destination({ fd: 1, sync: true }),
): Promise<Logger> => {
  const redact = makeRedact(secrets);
  const render = format === "pretty" ? await loadPretty(isColored) : plain;
  const stream: DestinationStream = {
    write: (line) => {
      try {
        out.write(render(redact(line)));
      } catch {
        // A full disk: better no log than no work.
      }
    },
  };
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }), log: withoutErrors },
    // Without this, pino would hang its own idea of an error on a field of that name.
    serializers: { err: plainValue },
    redact: { paths: ["*.password", "password", "*.url", "url"], censor: "***" },
  };
  return wrap(pino(options, stream));
};
