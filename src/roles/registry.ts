//! The roles there are: one line each.

import type { Registry } from "./role.ts";

export const registry: Registry = {
  consumer: async () => (await import("./consumer.ts")).consumer,
  producer: async () => (await import("./producer.ts")).producer,
  purger: async () => (await import("./purger.ts")).purger,
  migrator: async () => (await import("./migrator.ts")).migrator,
};
