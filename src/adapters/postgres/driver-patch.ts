//! Whether the driver is the one that this was built with: patched (docs/decisions.md).

import postgres from "postgres";

/** An application that has pgstream among its packages installs the driver itself. */
export const isDriverPatched = (driver: object = postgres): boolean =>
  Reflect.get(driver, "isPatchedForPgstream") === true;
