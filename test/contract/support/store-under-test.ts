//! What a suite of stores is told of the store at hand.

import type { ConsumerStore } from "../../../src/core/subscribe/store.ts";

/** An empty place for stores; several can be opened on it, as by several processes. What was opened is closed with it. */
export interface StorePlace extends AsyncDisposable {
  readonly open: () => ConsumerStore;
}

export interface StoreUnderTest {
  /** Each call makes another place. */
  readonly makePlace: () => StorePlace;
  /** Set when updates of one document do not exclude each other: why. The cases that need it are skipped by name. */
  readonly lacksAtomicUpdates: string | null;
}

/** Runs `body` with a prepared store on an empty place. */
export const withStore = async (
  { makePlace }: StoreUnderTest,
  body: (store: ConsumerStore, place: StorePlace) => Promise<void>,
): Promise<void> => {
  await using place = makePlace();
  const store = place.open();
  await store.prepare();
  await body(store, place);
};
