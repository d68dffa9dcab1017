//! The consumer's store, as configured.

import type { Config } from "../config/config.ts";
import type { Logger } from "../core/ports.ts";
import type { ConsumerStore } from "../core/subscribe/store.ts";
import { openStore } from "../library/open-store.ts";

/** @throws PgstreamError `invalid_config`, `store_unavailable`, `store_error` */
export const openConfiguredStore = async ({ consumer }: Config, logger: Logger): Promise<ConsumerStore> => {
  const { store } = consumer;
  return store.kind === "sqlite"
    ? await openStore(`sqlite:${store.path}`, { logger })
    : await openStore(store.url, { logger, ca: store.ca });
};
