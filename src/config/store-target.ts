//! Which store the consumer writes to.

import { readCertificates } from "./database-target.ts";
import { invalidConfig, type Sources } from "./given.ts";
import { settings } from "./settings.ts";
import type { StoreUrl } from "./store-url.ts";

export type StoreTarget =
  | { readonly kind: "sqlite"; readonly path: string }
  /** `ca`: certificates to trust, PEM, and TLS is on; null leaves both to the URL. The URL may hold a password. */
  | { readonly kind: "mongodb"; readonly url: string; readonly ca: string | null };

export const resolveStore = (store: StoreUrl, caFile: string | null, sources: Sources): StoreTarget => {
  const { env } = settings.consumer.storeCaFile;
  if (store.kind === "mongodb") {
    return { ...store, ca: caFile === null ? null : readCertificates(caFile, env, sources) };
  }
  if (caFile !== null)
    throw invalidConfig(`${env}: STORE_URL is SQLite, which has no TLS: unset one of them`);
  return store;
};
