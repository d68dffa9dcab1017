//! What goes, what stays, and in which order, on a real log.

import { describe, expect, test } from "bun:test";

import { makePurging } from "../../src/adapters/postgres/purge/purge-log.ts";
import { sqlstateOf } from "../../src/adapters/postgres/sqlstate.ts";
import { becomeAnotherServer, openTestClient, readAll, readerFromStart } from "../support/log-database.ts";
