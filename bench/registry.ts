//! All there is to measure, in the order in which it is measured. A group is a name for several.

import type { Measure } from "./context.ts";
import { growth } from "./growth/group.ts";
import { catchUp } from "./measures/catch-up.ts";
import { fanOut } from "./measures/fan-out.ts";
import { latency } from "./measures/latency.ts";
import { mixed } from "./measures/mixed.ts";
import { publishBatches } from "./measures/publish-batches.ts";
import { publishSingle } from "./measures/publish-single.ts";

export interface Group {
  readonly name: string;
  readonly about: string;
  readonly measures: readonly Measure[];
}

export const speed: Group = {
  name: "speed",
  about: "the six of the table",
  measures: [publishBatches, publishSingle, catchUp, latency, fanOut, mixed],
};

export const groups: readonly Group[] = [speed, growth];
