//! What the core needs from outside. Each port is declared by its user; each contract speaks to the implementer.

/** Time and waiting. The database's clock stamps and purges; this one only paces. */
export interface Clock {
  /** Milliseconds that never go back. */
  readonly now: () => number;
  /** Resolves after `ms`, or at once when the signal aborts; never rejects. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export type LogFields = Readonly<Record<string, unknown>>;

/** Structured logging: `fields` first, then one fixed sentence. Never throws, never logs event data or secrets. */
export interface Logger {
  readonly debug: (fields: LogFields, message: string) => void;
  readonly info: (fields: LogFields, message: string) => void;
  readonly warn: (fields: LogFields, message: string) => void;
  readonly error: (fields: LogFields, message: string) => void;
  readonly child: (fields: LogFields) => Logger;
}
