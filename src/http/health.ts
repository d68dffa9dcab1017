//! `/health/live` answers while the event loop turns; `/health/ready` says for each role whether it does its work, and
//! if not, why not.

import { Elysia } from "elysia";

import { json } from "./json.ts";

export interface Readiness {
  readonly ready: boolean;
  /** Why not, in a few words without secrets; null when ready. */
  readonly reason: string | null;
  /** Facts for an operator: plain values, no secrets, no event data. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Somebody whose readiness counts. */
export interface Reporter {
  readonly name: string;
  readonly status: () => Readiness;
}

const readinessOf = ({ status }: Reporter): Readiness => {
  try {
    return status();
  } catch {
    // A probe must always be answered; whoever cannot say how they are is not well.
    return { ready: false, reason: "its status cannot be told", details: {} };
  }
};

/** @param reason why the process as a whole is not ready, or null */
export const makeHealth = (reporters: readonly Reporter[], reason: string | null) =>
  new Elysia({ prefix: "/health" })
    .get("/live", () => json({ live: true }))
    .get("/ready", () => {
      const roles = Object.fromEntries(reporters.map((it) => [it.name, readinessOf(it)]));
      const ready = reason === null && Object.values(roles).every((it) => it.ready);
      return json({ ready, reason, roles }, ready ? 200 : 503);
    });
