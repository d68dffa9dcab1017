//! Whose schema pgstream is. Whoever may create schemas can be there first, and a trigger of theirs on our table would run with the
//! migrator's rights.

import { PgstreamError } from "../../../core/errors.ts";
import type { PostgresClient } from "../client.ts";
import { quoteName } from "../quote.ts";

interface StrangerColumns {
  readonly object: string;
  readonly owner: string;
  readonly user: string;
}

/**
 * Trusted are superusers, whoever has the rights of the database's owner or of the migrator's login anyway, and whose rights that login
 * was given. The last is looked up, since of a superuser PostgreSQL says that it is a member of every role.
 * @throws PgstreamError `permission_denied` when the schema, or the table of migrations, is somebody else's
 */
export const refuseStrangers = async (client: PostgresClient): Promise<void> => {
  const [found] = await client.run(
    (sql) => sql<StrangerColumns[]>`
      with recursive granted (role) as (
        select oid from pg_roles where rolname = current_user
        union
        -- From 16 on whoever makes a role is a member who has nothing of it.
        select m.roleid from pg_auth_members m join granted g on g.role = m.member
        where coalesce(to_jsonb(m) ->> 'inherit_option', 'true') = 'true' or to_jsonb(m) ->> 'set_option' = 'true'
      ), owned (object, owner) as (
        select 'schema pgstream', nspowner from pg_namespace where nspname = 'pgstream'
        union all
        select 'table pgstream.migrations', c.relowner
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'pgstream' and c.relname = 'migrations'
      )
      select o.object, o.owner::regrole::text as owner, current_user::text as "user" from owned o
      where o.owner not in (select role from granted)
        and o.owner <> 'pg_database_owner'::regrole
        and not pg_has_role(o.owner, current_user, 'member')
        and not pg_has_role(o.owner, (select datdba from pg_database where datname = current_database()), 'member')
      order by o.object`,
  );
  if (found === undefined) return;
  const { object, owner, user } = found;
  throw new PgstreamError(
    "permission_denied",
    `${object} belongs to ${owner}, and what ${owner} puts there would run with the rights of ${user}: find out who made it; run the migrator as ${owner}, or, if you trust that login, run: grant ${owner} to ${quoteName(user)};`,
    { details: { owner } },
  );
};
