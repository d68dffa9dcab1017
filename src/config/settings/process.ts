import { choice, integer, splitList, text, type Parser } from "../parser.ts";
import { roleNames, selectRoles, type RoleName } from "../role-names.ts";
import { optional, setting } from "../setting.ts";
import { duration } from "../units.ts";

const roles: Parser<readonly RoleName[]> = {
  unit: "list",
  parse: (value) => {
    const chosen = selectRoles(splitList(value));
    return chosen === null || chosen.length === 0
      ? { problem: `is not a list of roles: write ${roleNames.join(", ")}, several with commas, or all` }
      : { value: chosen };
  },
};

export const processSettings = {
  roles: optional("ROLES", roles, {
    about: `what to run: ${roleNames.join(", ")}, several with commas, or all`,
    unset: "none: must be given",
  }),
  host: setting("HOST", text("address"), { default: "0.0.0.0", about: "address of the HTTP server" }),
  port: optional("PORT", integer("port", { min: 0, max: 65_535 }), {
    about: "port of the HTTP server; the migrator alone opens none, 0 takes a free one",
    unset: "1337 with the consumer, else 1338 producer, 1339 purger",
  }),
  logLevel: setting("LOG_LEVEL", choice("debug", "info", "warn", "error"), {
    default: "info",
    about: "what to log",
  }),
  logFormat: setting("LOG_FORMAT", choice("auto", "json", "pretty"), {
    default: "auto",
    about: "one JSON object per line, or pretty; auto is pretty on a terminal",
  }),
  shutdownTimeoutMs: setting("SHUTDOWN_TIMEOUT", duration(), {
    default: "20s",
    about: "how long SIGTERM waits for work in hand",
  }),
};
