//! What the process shows to the outside over HTTP, from before the first role starts until the last has stopped.

import type { Config } from "../config/config.ts";
import type { Logger } from "../core/ports.ts";
import type { Scene } from "./run.ts";

export interface Door {
  /** Empty when nothing listens. */
  readonly url: string;
  readonly show: (scene: Scene) => void;
  readonly close: () => Promise<void>;
}

const closedDoor: Door = { url: "", show: () => undefined, close: async () => await Promise.resolve() };

const missingOf = (roles: Scene["roles"]): string | null => {
  if (roles.some((it) => it.isPending())) return "a role is still starting";
  return roles.some((it) => it.hasFailed()) ? "a role has failed" : null;
};

/** @throws PgstreamError `invalid_config` when the address cannot be had */
export const openDoor = async (
  { host, port }: Config["process"],
  { logger, version }: { readonly logger: Logger; readonly version: string },
): Promise<Door> => {
  if (port === null) return closedDoor;
  // A process without a port need not pay for the web framework.
  const [{ makeApp }, { openServer }] = await Promise.all([
    import("../http/app.ts"),
    import("../http/server.ts"),
  ]);
  const appOf = ({ roles, isStopping }: Scene) =>
    makeApp({
      version,
      logger,
      // While it stops, roles are closing their stores: better no route than a broken one.
      parts: roles.map(({ name, status, routes }) => ({ name, status, routes: isStopping ? null : routes })),
      obstacle: isStopping ? "stopping" : null,
      missing: missingOf(roles),
    });
  const server = openServer({ host, port }, appOf({ roles: [], isStopping: false }).fetch);
  logger.info({ address: server.url }, "the server listens");
  return {
    url: server.url,
    show: (scene) => server.answerWith(appOf(scene).fetch),
    close: server.close,
  };
};
