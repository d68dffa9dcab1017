//! What every measure is given, and what it answers. A measure opens what it needs, measures, checks, and leaves nothing
//! behind; whatever it throws ends the run without a figure.

/** A database of one's own on the benchmark's server. Dropped when disposed of. */
export interface BenchDatabase extends AsyncDisposable {
  /** As the server's superuser, without TLS. */
  readonly url: string;
  readonly name: string;
}

/** What a stretch of work cost, and whether others got in its way. */
export interface Usage {
  readonly wallSeconds: number;
  /** CPU seconds of all processes of the PostgreSQL server. */
  readonly serverCpuSeconds: number;
  /** CPU seconds of this process and of those it started, the server not among them. */
  readonly clientCpuSeconds: number;
  /** What everybody else took, of all the CPU time that the machine had, 0 to 1; stolen time included. */
  readonly othersShare: number;
}

/** Began when it was made; `read` may be called again and again. */
export interface UsageMeter {
  readonly read: () => Promise<Usage>;
}

export interface BenchContext {
  /** Database `postgres` of the benchmark's own server, as its superuser. */
  readonly adminUrl: string;
  /** Process id of the postmaster. */
  readonly serverPid: number;
  /** Where the server's files are, for sizes on disk. */
  readonly dataDir: string;
  /** A fresh one, migrated as the migrator does it; `empty` leaves it as PostgreSQL made it. */
  readonly createDatabase: (kind?: "migrated" | "empty") => Promise<BenchDatabase>;
  /** Writes out what earlier work left dirty, so that nobody pays for it within the clock. */
  readonly checkpoint: () => Promise<void>;
  /** 1 is full. Use {@link scaled} for counts. */
  readonly scale: number;
  /** At least 1: how often measured thing and limit take turns; as was said, else as the measure has it. */
  readonly rounds: number;
  /** `--events`: how many events a growing log grows to; null when it was not said. */
  readonly eventsMax: number | null;
  /** `--soak`; null when it was not asked for. */
  readonly soakMs: number | null;
  /** One line of progress, on stderr. */
  readonly say: (line: string) => void;
  /** Aborts when the user has had enough: throw, or return early; the run then ends without a table. */
  readonly signal: AbortSignal;
  readonly startMeter: () => Promise<UsageMeter>;
  /** The rows that earlier measures of this run answered. */
  readonly rowsSoFar: () => readonly Row[];
}

/** A figure over the rounds. */
export interface Summary {
  /** The median of the rounds; of a quantile, that of all rounds' samples together. */
  readonly value: number;
  readonly min: number;
  readonly max: number;
}

/** One line of the table. */
export interface Row {
  /** e.g. `publish, batches of 1,000`. */
  readonly measure: string;
  readonly unit: "events/s" | "deliveries/s" | "ms" | "bytes" | "buffers" | "locks" | "MB" | "s" | "count";
  /** Of the measured thing. */
  readonly pgstream: Summary;
  /** Of the limit measured beside it in the same rounds; null when there is none. */
  readonly limit: Summary | null;
  /** What the limit is, in a few words. */
  readonly limitIs: string;
  /** Of pgstream's figure to the limit's: the median of the rounds' ratios; of a quantile, the ratio of the two. */
  readonly ratio: Summary | null;
  /** As told, e.g. `0.75 ×`, and whether it was reached. Null: nothing was asked. */
  readonly must: Goal | null;
  readonly wanted: Goal | null;
  readonly usage: Usage | null;
  readonly limitUsage: Usage | null;
  /** How many events the usage is of, and that of the limit: for CPU time per event. */
  readonly amount?: number;
  readonly limitAmount?: number;
  /** Anything else worth keeping, for the JSON file. */
  readonly details: Readonly<Record<string, unknown>>;
}

export interface Goal {
  readonly text: string;
  readonly isReached: boolean;
  /** Judged round by round, where there were rounds: how sure the verdict is. */
  readonly inRounds?: { readonly reached: number; readonly of: number };
}

/** A drawing that goes beside the JSON file and, with `--chart`, into that folder. */
export interface Picture {
  /** e.g. `soak-memory.svg` */
  readonly name: string;
  readonly svg: string;
}

export interface MeasureResult {
  readonly rows: readonly Row[];
  readonly pictures?: readonly Picture[];
}

export interface Measure {
  /** What `--only` calls it: lower case and dashes. */
  readonly name: string;
  /** One line, for `--help`. */
  readonly about: string;
  /** How often measured thing and limit take turns at full scale when nobody says. Default 3. */
  readonly rounds?: number;
  /** @throws DeliveryError when an event was lost, repeated, reordered or altered */
  readonly run: (context: BenchContext) => Promise<MeasureResult>;
}

/** A name for several measures. */
export interface Group {
  readonly name: string;
  readonly about: string;
  readonly measures: readonly Measure[];
}

/** The run cannot go on, and one line says why. */
export class RunError extends Error {
  override readonly name = "RunError";
}

/** What must never happen did: there is no figure then. */
export class DeliveryError extends Error {
  override readonly name = "DeliveryError";
}

/** What a figure needs at least: one round in the middle, and what it lies between. */
export const roundsLeast = 3;

/** `full` events at full scale, in whole multiples of `step`, and never less than one step. */
export const scaled = ({ scale }: Pick<BenchContext, "scale">, full: number, step = 1): number =>
  Math.max(1, Math.round((full * scale) / step)) * step;
