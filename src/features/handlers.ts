//! What the example application does with events: those it knows become documents, the others only a receipt.

import type { Event } from "../core/event.ts";
import type { DocumentWrite } from "../core/subscribe/store.ts";
import { projectCourseCreated } from "./courses/course-created.ts";
import { projectPolicyUpdated } from "./policies/policy-updated.ts";
import type { Projection } from "./projection.ts";

const projections: readonly Projection[] = [projectCourseCreated, projectPolicyUpdated];

/** The collections that the application fills, and serves over HTTP. */
export const collections = ["courses", "policies"] as const;

/** An event that no projection is for. Not a failure: publishers may be ahead of us. */
export interface UnknownType {
  readonly topic: string;
  readonly type: string | null;
}

export interface ProjectedBatch {
  readonly writes: readonly DocumentWrite[];
  /** One entry for each such event. */
  readonly unknown: readonly UnknownType[];
}

// Control characters occur in neither, so that the two cannot run into each other.
const nameOf = (topic: string, type: string | null): string => `${topic}\n${type ?? ""}`;

const byName = new Map(projections.map((it) => [nameOf(it.topic, it.type), it]));

/**
 * What a batch leads to, in its order. Pure: the same events, the same answer.
 * @throws PgstreamError `handler_failed` when the data of a known type does not parse
 */
export const projectBatch = (events: readonly Event[]): ProjectedBatch => {
  const writes: DocumentWrite[] = [];
  const unknown: UnknownType[] = [];
  for (const event of events) {
    const { topic, type } = event;
    const projection = byName.get(nameOf(topic, type));
    if (projection === undefined) unknown.push({ topic, type });
    else writes.push(...projection.project(event));
  }
  return { writes, unknown };
};
