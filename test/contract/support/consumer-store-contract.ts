//! What every consumer's store must do: one suite for all of them, each sentence of the port a test.

import { describe } from "bun:test";

import { commitCases } from "./store-commit-cases.ts";
import { leaseCases } from "./store-lease-cases.ts";
import { readCases } from "./store-read-cases.ts";
import type { StoreUnderTest } from "./store-under-test.ts";

export const consumerStoreContract = (name: string, store: StoreUnderTest): void => {
  describe(`${name} as a consumer's store`, () => {
    leaseCases(store);
    commitCases(store);
    readCases(store);
  });
};
