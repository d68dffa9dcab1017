//! All there is to measure, in the order in which it is measured. A group is a name for several.

import type { Group } from "./context.ts";
import { growth } from "./growth/group.ts";
import { catchUp } from "./measures/catch-up.ts";
import { fanOut } from "./measures/fan-out.ts";
import { latency } from "./measures/latency.ts";
import { mixed } from "./measures/mixed.ts";
import { publishBatches } from "./measures/publish-batches.ts";
import { publishSingle } from "./measures/publish-single.ts";

export const speed: Group = {
  name: "speed",
  about: "the six of the table",
  measures: [publishBatches, publishSingle, catchUp, latency, fanOut, mixed],
};

export const groups: readonly Group[] = [speed, growth];
