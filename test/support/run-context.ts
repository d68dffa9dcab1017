//! What one run of the tests shares: its name, and the services that scripts/test.ts started for all test processes.
//! A test file run alone has none of it and starts what it needs itself.

/** A service of the run. `source` says where it came from, for the reader of the log. */
export interface SharedService {
  readonly url: string;
  readonly source: string;
}

export interface RunContext {
  /** Part of the name of every database this run makes; only those are ever used or dropped. */
  readonly runId: string;
  readonly postgres: SharedService;
  /** Null when none could be had; `mongoReason` then says why. */
  readonly mongo: SharedService | null;
  readonly mongoReason?: string;
}

const variable = "PGSTREAM_TEST_RUN";

export const newRunId = (): string =>
  Math.floor(Math.random() * 36 ** 8)
    .toString(36)
    .padStart(8, "0");

/** For the environment of the test processes. */
export const runEnvironment = (context: RunContext): Record<string, string> => ({
  [variable]: JSON.stringify(context),
});

/** Null when this process was not started by scripts/test.ts. */
export const sharedRun = (): RunContext | null => {
  const text = process.env[variable];
  return text === undefined || text === "" ? null : (JSON.parse(text) as RunContext);
};

/** Continuous integration accepts no skipped service. */
export const isCi = (): boolean => ["1", "true"].includes(process.env["CI"] ?? "");
