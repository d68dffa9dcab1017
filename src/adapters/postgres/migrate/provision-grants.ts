//! Makes privileges in schema pgstream what access.ts says. Idempotent; changes nothing outside the schema.

import type { Logger } from "../../../core/ports.ts";
import type { PostgresClient, Sql } from "../client.ts";
import { type Access, type Group, groups } from "./access.ts";
import { type Held, planGrants, type SecuredObject } from "./grant-plan.ts";
import { runAsOne } from "./migrator-message.ts";

const grantTimeoutMs = 30_000;

interface ObjectColumns extends Omit<SecuredObject, "held"> {
  /** As JSON: the driver does not know arrays. */
  readonly held: string;
}

/**
 * Everything in the schema that has privileges, each with what the groups and everybody hold on it. What somebody else
 * gave, the owner cannot take back but by taking from the giver the right to give; so that is listed, too.
 */
const selectObjects = (sql: Sql) => sql<ObjectColumns[]>`
  with objects (kind, name, identity, owner, acl, attribute_of) as (
    select 'schema', nspname, quote_ident(nspname), nspowner, coalesce(nspacl, acldefault('n', nspowner)), null::oid
    from pg_namespace where nspname = 'pgstream'
    union all
    select case relkind when 'S' then 'sequence' else 'table' end, relname, format('pgstream.%I', relname), relowner,
      coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)), oid
    from pg_class
    where relnamespace = 'pgstream'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select 'routine', proname, format('pgstream.%I(%s)', proname, pg_get_function_identity_arguments(oid)), proowner,
      coalesce(proacl, acldefault('f', proowner)), null
    from pg_proc where pronamespace = 'pgstream'::regnamespace
  )
  select kind, name::text as name, identity, (
    select coalesce(json_agg(distinct jsonb_build_object('role', h.role, 'privilege', h.privilege)), '[]')
    from (
      select '' as of_column, a.* from aclexplode(o.acl) a
      union all
      select format(' (%I)', c.attname), a.* from pg_attribute c, aclexplode(c.attacl) a where c.attrelid = o.attribute_of
    ) a
    left join pg_roles grantee on grantee.oid = a.grantee
    join pg_roles grantor on grantor.oid = a.grantor
    cross join lateral (select lower(a.privilege_type collate "C") || a.of_column as verb) v
    cross join lateral (
      select coalesce(grantee.rolname, 'public') as role, v.verb as privilege
      union all
      select grantee.rolname, 'grant option for ' || v.verb where a.is_grantable
      union all
      select grantor.rolname, 'grant option for ' || v.verb where a.grantor <> o.owner
    ) h
    where a.grantee = 0 or grantee.rolname = any(string_to_array(${groups.join(",")}::text, ','))
  )::text as held
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
    held: JSON.parse(held) as Held[],
  }));
  const statements = planGrants(objects, access);
  if (statements.length === 0) return;
  await runAsOne(client, statements, { deadlineMs: grantTimeoutMs });
  logger.info({ statements: statements.length }, "privileges brought up to date");
};
