//! Opens a consumer's store: the scheme of the URL chooses which.

import { PgstreamError } from "../core/errors.ts";
import type { Logger } from "../core/ports.ts";
import type { ConsumerStore } from "../core/subscribe/store.ts";
import { silent } from "./defaults.ts";
import { checkNumbers } from "./given-options.ts";

export interface OpenStoreOptions {
  /** The longest a call may take. Default 10,000 ms. */
  readonly deadlineMs?: number;
  /** Certificates to trust for MongoDB, PEM; turns TLS on. Default: as the URL says. */
  readonly ca?: string | null;
  /** Default: silent. */
  readonly logger?: Logger;
}

/**
 * Opens `sqlite:./file.sqlite`, `mongodb://…` or `mongodb+srv://…`. Only the store that is used is loaded: MongoDB's
 * driver alone takes longer to load than the rest of the process.
 * @throws PgstreamError `invalid_config`, `store_unavailable`, `store_error`
 */
export const openStore = async (url: string, options: OpenStoreOptions = {}): Promise<ConsumerStore> => {
  checkNumbers(options, { deadlineMs: 1 });
  const { deadlineMs = 10_000, ca = null, logger = silent } = options;
  const scheme = url.slice(0, url.indexOf(":"));
  switch (scheme) {
    case "sqlite": {
      const { openSqliteStore } = await import("../adapters/sqlite/open-sqlite-store.ts");
      return openSqliteStore(url, { deadlineMs });
    }
    case "mongodb":
    case "mongodb+srv": {
      const { openMongoStore } = await import("../adapters/mongo/open-mongo-store.ts");
      return openMongoStore(url, { deadlineMs, ca, logger });
    }
    default:
      throw new PgstreamError(
        "invalid_config",
        "the store URL has a scheme that is not known: write sqlite:./file.sqlite or mongodb://host:27017/database",
      );
  }
};
