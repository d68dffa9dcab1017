//! What a live read is asked for in tests: everything since the epoch began, unless told otherwise.

import type { Epoch } from "../../src/core/log.ts";
import type { LiveRequest } from "../../src/core/tail/tail-reader.ts";

export const requestFrom = (epoch: Epoch, change: Partial<LiveRequest> = {}): LiveRequest => ({
  since: epoch.snapshot,
  epoch,
  mainBound: epoch.firstId - 1n,
  lateBound: epoch.firstId - 1n,
  topicIds: null,
  topicsSince: epoch.snapshot,
  identify: false,
  eventsMax: 100,
  bytesMax: 2 ** 20,
  ...change,
});
