//! The commands there are: one entry each. Their insides are loaded when wanted.

import type { Commands } from "./command.ts";
import { registry } from "./registry.ts";

export const commands: Commands = {
  serve: {
    about: "run the roles",
    databases: ({ process }) => process.roles,
    load: async () => (await import("./serve.ts")).makeServe(registry),
  },
  verify: {
    about: "compare the ids in the log with the consumer's receipts",
    databases: () => ["consumer"],
    load: async () => (await import("./verify.ts")).verify,
  },
  demo: {
    about: "show everything at work, on an embedded PostgreSQL",
    databases: () => [],
    load: async () => (await import("./demo.ts")).demo,
  },
  health: {
    about: "ask the process on this machine whether it is ready",
    databases: () => [],
    load: async () => (await import("./health.ts")).health,
  },
};
