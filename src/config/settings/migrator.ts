import { onOff, text } from "../parser.ts";
import type { RoleName } from "../role-names.ts";
import { optional, setting } from "../setting.ts";

const passwordOf = (role: RoleName) =>
  optional(`${role.toUpperCase()}_PASSWORD`, text("password"), {
    about: `password of the login ${role} that CREATE_LOGINS makes`,
    unset: "none",
    flag: null,
    secret: true,
  });

export const migratorSettings = {
  dedicatedDatabase: setting("DEDICATED_DATABASE", onOff, {
    default: "off",
    about: "the database is pgstream's alone: put its schema on the search path",
  }),
  createLogins: setting("CREATE_LOGINS", onOff, {
    default: "off",
    about: "make the logins producer, consumer and purger; needs their passwords",
  }),
  producerPassword: passwordOf("producer"),
  consumerPassword: passwordOf("consumer"),
  purgerPassword: passwordOf("purger"),
};
