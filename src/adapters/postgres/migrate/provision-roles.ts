//! The roles of access.ts, and on request the logins that belong to them. Roles are the cluster's, not the database's:
//! another database's migrator may have made them, or be making them right now.

import { PgstreamError } from "../../../core/errors.ts";
import type { Logger } from "../../../core/ports.ts";
import type { PostgresClient } from "../client.ts";
import { quoteName, quoteText } from "../quote.ts";
import { type Group, groups } from "./access.ts";
import { orAskAdministrator } from "./migrator-message.ts";
import { makeScramVerifier } from "./scram-verifier.ts";

export interface Login {
  readonly name: string;
  readonly group: Group;
  /** Printable ASCII. Never logged, and never sent: the server gets a verifier. */
  readonly password: string;
}

const roleExists = async (client: PostgresClient, name: string): Promise<boolean> => {
  const rows = await client.run((sql) => sql`select from pg_roles where rolname = ${name}::text`);
  return rows.length > 0;
};

const isMember = async (client: PostgresClient, { name, group }: Login): Promise<boolean> => {
  const rows = await client.run(
    (sql) => sql`
      select from pg_auth_members m
      where m.roleid = (select oid from pg_roles where rolname = ${group}::text)
        and m.member = (select oid from pg_roles where rolname = ${name}::text)`,
  );
  return rows.length > 0;
};

/** What an administrator is asked for where DDL on roles is refused; without anything secret. */
interface Request {
  readonly statements: readonly string[];
  readonly afterwards?: string;
}

const changeRole = async (
  client: PostgresClient,
  ddl: string,
  { statements, afterwards }: Request,
): Promise<void> => {
  await orAskAdministrator(
    async () => {
      await client.run((sql) => sql.unsafe(ddl).simple());
    },
    statements,
    afterwards,
  );
};

/** @returns false when the role was there already, made by somebody else meanwhile */
const createRole = async (client: PostgresClient, ddl: string, request: Request): Promise<boolean> => {
  try {
    await changeRole(client, ddl, request);
    return true;
  } catch (error) {
    const state = error instanceof PgstreamError ? error.details["sqlstate"] : null;
    // Duplicate object; unique violation, when both were inside the statement at once.
    if (state === "42710" || state === "23505") return false;
    throw error;
  }
};

const currentUser = async (client: PostgresClient): Promise<string> => {
  const [row] = await client.run((sql) => sql<{ name: string }[]>`select current_user::text as name`);
  return row?.name ?? "";
};

/** Who makes a role may grant it. Whoever has it made by an administrator needs to be told so to grant it to applications. */
const statementsFor = (missing: readonly Group[], user: string): readonly string[] =>
  missing.flatMap((group) => [
    `create role ${group} nologin`,
    `grant ${group} to ${quoteName(user)} with admin option`,
  ]);

/**
 * Creates the groups that are missing.
 * @throws PgstreamError `permission_denied`, saying what an administrator must run
 */
export const provisionGroups = async (client: PostgresClient, logger: Logger): Promise<void> => {
  const missing: Group[] = [];
  for (const group of groups) if (!(await roleExists(client, group))) missing.push(group);
  // All of them in the message for the administrator, who should have to come only once.
  const all = missing.length === 0 ? [] : statementsFor(missing, await currentUser(client));
  for (const group of missing) {
    if (await createRole(client, `create role ${group} nologin`, { statements: all })) {
      logger.info({ group }, "group created");
    }
  }
};

const mayCreateRoles = async (client: PostgresClient): Promise<boolean> => {
  const [row] = await client.run(
    (sql) => sql<{ may: boolean }[]>`
      select rolcreaterole or rolsuper as may from pg_roles where rolname = current_user`,
  );
  return row?.may === true;
};

const createLogin = ({ name, group }: Login, secret: string): string =>
  // One statement: a login that exists without its group would look like somebody else's.
  `create role ${quoteName(name)} login ${secret} in role ${group}`;

const changeLogin = ({ name }: Login, secret: string): string =>
  `alter role ${quoteName(name)} login ${secret}`;

/**
 * For all logins at once. From PostgreSQL 16 on, who may create roles needs ADMIN besides: of the group to put a login into it, of
 * a login that somebody else made to change it.
 */
const requestFor = async (client: PostgresClient, logins: readonly Login[]): Promise<Request> => {
  const user = quoteName(await currentUser(client));
  const mayCreate = await mayCreateRoles(client);
  const statements: string[] = [];
  for (const login of logins) {
    const exists = await roleExists(client, login.name);
    if (mayCreate) {
      statements.push(`grant ${exists ? quoteName(login.name) : login.group} to ${user} with admin option`);
    } else {
      statements.push((exists ? changeLogin : createLogin)(login, "password '…'"));
    }
  }
  return mayCreate ? { statements } : { statements, afterwards: " and turn CREATE_LOGINS off" };
};

const provisionLogin = async (
  client: PostgresClient,
  login: Login,
  request: Request,
  logger: Logger,
): Promise<void> => {
  const { name, group, password } = login;
  const secret = `password ${quoteText(makeScramVerifier(password))}`;
  if (!(await roleExists(client, name))) {
    if (await createRole(client, createLogin(login, secret), request)) {
      logger.info({ login: name, group }, "login created");
      return;
    }
  }
  if (!(await isMember(client, login))) {
    throw new PgstreamError(
      "invalid_config",
      `role ${name} exists and is no member of ${group}, so it may be somebody else's: run "grant ${group} to ${quoteName(name)}", or turn CREATE_LOGINS off`,
    );
  }
  await changeRole(client, changeLogin(login, secret), request);
};

/**
 * Creates the logins that are missing, and gives all of them the passwords of the configuration.
 * @throws PgstreamError `permission_denied`, saying what an administrator must run; `invalid_config`
 */
export const provisionLogins = async (
  client: PostgresClient,
  logins: readonly Login[],
  logger: Logger,
): Promise<void> => {
  const request = await requestFor(client, logins);
  for (const login of logins) await provisionLogin(client, login, request, logger);
};
