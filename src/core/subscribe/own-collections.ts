//! Names that a store keeps for itself. In MongoDB its bookkeeping lies beside the application's collections; elsewhere they
//! are refused too, so that an application can change its store.

import { PgstreamError } from "../errors.ts";

const ownCollections: readonly string[] = ["subscriptions", "receivedEvents"];

/** @throws PgstreamError `store_error` when the application's collection bears a name of the store's own */
export const checkCollection = (collection: string): void => {
  if (!ownCollections.includes(collection)) return;
  throw new PgstreamError(
    "store_error",
    `collection ${collection} is the store's own: give the documents a collection of another name`,
  );
};
