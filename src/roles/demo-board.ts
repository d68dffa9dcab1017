//! What the demo shows: one line a second, in place on a terminal.

import type { Readiness } from "../http/health.ts";
import type { HostedRole } from "./host.ts";

export interface DemoFigures {
  readonly published: number;
  readonly handled: number;
  readonly purged: number;
  readonly lagMs: number | null;
  /** Whether the consumer has handled everything there is. */
  readonly isLive: boolean;
  /** Roles that are not ready, and why. */
  readonly obstacles: readonly string[];
}

const numberIn = (status: Readiness | undefined, name: string): number => {
  const value = status?.details[name];
  return typeof value === "number" ? value : 0;
};

export const readFigures = (roles: readonly HostedRole[]): DemoFigures => {
  const statusOf = new Map(roles.map((role) => [role.name, role.status()]));
  const consumer = statusOf.get("consumer");
  const lagMs = consumer?.details["lagMs"];
  return {
    published: numberIn(statusOf.get("producer"), "published"),
    handled: numberIn(consumer, "handledEvents"),
    purged: numberIn(statusOf.get("purger"), "purgedEvents"),
    lagMs: typeof lagMs === "number" ? lagMs : null,
    isLive: consumer?.details["state"] === "live",
    obstacles: [...statusOf].flatMap(([name, { ready, reason }]) =>
      ready ? [] : [`${name} ${reason ?? "is not ready"}`],
    ),
  };
};

export const formatFigures = (
  { published, handled, purged, lagMs, obstacles }: DemoFigures,
  seconds: number,
): string => {
  const columns = [
    `${String(seconds).padStart(4)} s`,
    `published ${String(published).padStart(6)}`,
    `handled ${String(handled).padStart(6)}`,
    `purged ${String(purged).padStart(6)}`,
    `lag ${lagMs === null ? "    –" : `${String(lagMs).padStart(4)} ms`}`,
  ];
  return obstacles.length === 0 ? columns.join("   ") : `${columns.join("   ")}   (${obstacles.join("; ")})`;
};
