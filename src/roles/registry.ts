//! The roles there are: one line each.

import type { Registry } from "./role.ts";

export const registry: Registry = {
  migrator: async () => (await import("./migrator.ts")).migrator,
};
