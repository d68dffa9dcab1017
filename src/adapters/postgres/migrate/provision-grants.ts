//! Makes privileges in schema pgstream what access.ts says. Idempotent; changes nothing outside the schema.

import type { Logger } from "../../../core/ports.ts";
import type { PostgresClient, Sql } from "../client.ts";
import { type Access, type Group, groups } from "./access.ts";
import { planGrants, type SecuredObject } from "./grant-plan.ts";
import { runAsOne } from "./migrator-message.ts";

const grantTimeoutMs = 30_000;

interface ObjectColumns extends Omit<SecuredObject, "held"> {
  /** Separated by commas: the driver does not know arrays. */
  readonly held: string;
}

/** Everything in the schema that has privileges, each with what the groups and everybody hold on it. */
const selectObjects = (sql: Sql) => sql<ObjectColumns[]>`
  with objects (kind, name, identity, acl) as (
    select 'schema', nspname, quote_ident(nspname), coalesce(nspacl, acldefault('n', nspowner))
    from pg_namespace where nspname = 'pgstream'
    union all
    select case relkind when 'S' then 'sequence' else 'table' end, relname, format('pgstream.%I', relname),
      coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))
    from pg_class
    where relnamespace = 'pgstream'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select 'routine', proname, format('pgstream.%I(%s)', proname, pg_get_function_identity_arguments(oid)),
      coalesce(proacl, acldefault('f', proowner))
    from pg_proc where pronamespace = 'pgstream'::regnamespace
  )
  select kind, name::text as name, identity, array_to_string(array(
    select concat(coalesce(r.rolname, 'public'), ' ', lower(a.privilege_type))
    from aclexplode(o.acl) a left join pg_roles r on r.oid = a.grantee
    where a.grantee = 0 or r.rolname = any(string_to_array(${groups.join(",")}::text, ','))
  ), ',') as held
  from objects o order by kind, identity`;

/** @throws PgstreamError `permission_denied` when somebody else owns the schema */
export const provisionGrants = async (
  client: PostgresClient,
  access: Readonly<Record<Group, Access>>,
  logger: Logger,
): Promise<void> => {
  const rows = await client.run(selectObjects);
  const objects = rows.map(({ kind, name, identity, held }) => ({
    kind,
    name,
    identity,
    held: held === "" ? [] : held.split(","),
  }));
  const statements = planGrants(objects, access);
  if (statements.length === 0) return;
  await runAsOne(client, statements, { deadlineMs: grantTimeoutMs });
  logger.info({ statements: statements.length }, "privileges brought up to date");
};
