//! The example's data, made up: courses that come into being, and a few policies that change again and again. The same
//! seed makes the same events.
//!
//! Faker takes 5 µs for an id and 16 µs for a phrase: it fills pools of them once, and each event is put together from
//! those. It is loaded when asked for: only a producer needs it, and loading takes longer than the rest of its start.

import type { EventDraft } from "../core/event.ts";
import { coursesTopic, type CourseCreated } from "./courses/course-created.ts";
import { policiesTopic, type PolicyUpdated } from "./policies/policy-updated.ts";

export interface Generator {
  /** The next `count` drafts: `CourseCreated` and `PolicyUpdated` in turn, each with its subject's id as the key. */
  readonly next: (count: number, createdAt: Date) => readonly EventDraft[];
}

interface Pools {
  /** A version 4 UUID up to its last dash: what follows counts. */
  readonly courseIdPrefix: string;
  readonly courseNames: readonly string[];
  readonly descriptions: readonly string[];
  readonly policies: readonly { readonly id: string; readonly name: string }[];
}

const courseNamesMax = 1_000;
// Prime to the number of names, so that each name meets each description.
const descriptionsMax = 997;
const policiesMax = 100;

const fillPools = async (seed: number): Promise<Pools> => {
  const { faker } = await import("@faker-js/faker/locale/en");
  // Faker is one for the whole process: seeded and asked in one go, it cannot be disturbed.
  faker.seed(seed);
  const many = <T>(length: number, make: () => T): readonly T[] => Array.from({ length }, make);
  return {
    courseIdPrefix: faker.string.uuid().slice(0, 24),
    courseNames: many(
      courseNamesMax,
      () => `${faker.hacker.ingverb()} the ${faker.hacker.adjective()} ${faker.hacker.noun()}`,
    ),
    descriptions: many(descriptionsMax, () => faker.hacker.phrase()),
    policies: many(policiesMax, () => ({
      id: faker.string.uuid(),
      name: `${faker.commerce.department()} ${faker.commerce.productAdjective().toLowerCase()} policy`,
    })),
  };
};

const at = <T>(pool: readonly T[], index: number): T => pool[index % pool.length] as T;

const makeCourse = (pools: Pools, index: number, createdAt: string): EventDraft => {
  const course: CourseCreated = {
    CourseId: pools.courseIdPrefix + index.toString(16).padStart(12, "0"),
    Name: at(pools.courseNames, index),
    Description: at(pools.descriptions, index),
    Length: 15 * (1 + (index % 32)),
    CreatedAt: createdAt,
  };
  return { topic: coursesTopic, type: "CourseCreated", key: course.CourseId, data: course };
};

const makePolicy = (pools: Pools, index: number, createdAt: string): EventDraft => {
  const { id, name } = at(pools.policies, index);
  const policy: PolicyUpdated = {
    PolicyId: id,
    Name: name,
    Description: at(pools.descriptions, index),
    CreatedAt: createdAt,
  };
  return { topic: policiesTopic, type: "PolicyUpdated", key: id, data: policy };
};

/** @param seed a whole number */
export const openGenerator = async (seed: number): Promise<Generator> => {
  const pools = await fillPools(seed);
  let made = 0;
  return {
    next: (count, createdAt) => {
      const time = createdAt.toISOString();
      return Array.from({ length: count }, () => {
        const index = Math.floor(made / 2);
        const draft = made % 2 === 0 ? makeCourse(pools, index, time) : makePolicy(pools, index, time);
        made += 1;
        return draft;
      });
    },
  };
};
