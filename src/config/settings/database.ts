import { databaseUrl } from "../database-url.ts";
import { choice, onOff, text } from "../parser.ts";
import type { RoleName } from "../role-names.ts";
import { optional, setting } from "../setting.ts";

const databaseOf = (role: RoleName) =>
  optional(`${role.toUpperCase()}_DATABASE_URL`, databaseUrl, {
    about: `the ${role}'s own database login`,
    unset: "DATABASE_URL",
    secret: true,
  });

export const databaseSettings = {
  url: optional("DATABASE_URL", databaseUrl, {
    about: "the events database: postgres://user:password@host:5432/database",
    unset: "none",
    secret: true,
  }),
  migratorUrl: databaseOf("migrator"),
  producerUrl: databaseOf("producer"),
  consumerUrl: databaseOf("consumer"),
  purgerUrl: databaseOf("purger"),
  tls: optional("DATABASE_TLS", choice("off", "verify", "no-verify"), {
    about: "TLS to Postgres: verify checks certificate and host name, no-verify only encrypts",
    unset: "the URL's sslmode (require verifies too), else verify with a CA file, else off",
  }),
  caFile: optional("DATABASE_CA_FILE", text("file"), {
    about: "certificate authorities to trust for Postgres (PEM)",
    unset: "the URL's sslrootcert, else the system's",
  }),
  unsafeDurability: setting("UNSAFE_DURABILITY", onOff, {
    default: "off",
    about: "start even when the server has fsync, full_page_writes or synchronous_commit off",
  }),
};
