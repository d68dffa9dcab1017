//! What each write of a commit is told.

import type { ClientSession } from "mongodb";

export interface Step {
  /** For the driver; without a session where the server has no transactions. */
  readonly options: { readonly session?: ClientSession };
  readonly isTransaction: boolean;
  /** Aborts at the deadline of the commit: nothing may start after it. */
  readonly signal: AbortSignal;
}
