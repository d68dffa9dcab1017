//! A tail that nobody can join: everybody reads alone.

import type { Tail } from "../../src/core/tail/tail.ts";

export const noTail: Tail = { join: () => null };
