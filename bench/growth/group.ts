//! What may grow, and what may not grow with it.

import type { Group } from "../context.ts";
import { growthCatchUp } from "./catch-up.ts";
import { growthIdle } from "./idle.ts";
import { growthOpenTransaction } from "./open-transaction.ts";
import { growthTopics } from "./topics.ts";
import { growthTransaction } from "./transaction.ts";
import { growthUpkeep } from "./upkeep.ts";

export const growth: Group = {
  name: "growth",
  about: "what may grow, and what may not grow with it",
  measures: [growthIdle, growthCatchUp, growthTransaction, growthTopics, growthOpenTransaction, growthUpkeep],
};
