//! What somebody may plant who may create functions in a schema on the search path.

import type postgres from "postgres";

/** Ours take these where PostgreSQL's own take anything: so they are the better match even behind pg_catalog. */
const betterMatches = [
  "quote_ident(name)",
  "lower(name)",
  "concat(name, text, text)",
  "concat(integer, text, timestamptz)",
  "concat_ws(text, integer, timestamptz, text, text, json)",
  "concat_ws(text, boolean, integer, uuid, text, text, boolean, text, text, text, text, integer, text)",
  "format(text, name)",
  "format(text, name, text)",
  "array_to_string(text[], text)",
  "json_build_object(text, integer, text, text, text, text)",
  "json_agg(json)",
  "pg_column_size(json)",
  "pg_column_compression(json)",
  "unnest(integer[])",
  "unnest(bigint[])",
  "obj_description(oid, text)",
];

/** Functions in schema public that raise an error when they are called: for each of pg_catalog's one that takes the same, and more. */
export const plantFunctions = async (sql: postgres.Sql): Promise<void> => {
  await sql
    .unsafe(`
    do $do$
    declare signature text;
    begin
      for signature in
        select format('%I(%s)', proname, (
          select string_agg(format_type(t.type, null), ', ' order by t.n) from unnest(proargtypes::oid[]) with ordinality t(type, n)))
        from pg_proc where pronamespace = 'pg_catalog'::regnamespace
        union
        select unnest(string_to_array('${betterMatches.join(";")}', ';'))
      loop
        begin
          execute format(
            'create function public.%s returns text language plpgsql as $$ begin raise exception ''planted''; end $$', signature);
        exception when invalid_function_definition or feature_not_supported or syntax_error or undefined_object then
          null; -- takes what only functions in C may take
        end;
      end loop;
    end $do$;
    create function public.times(float8, integer) returns float8 language plpgsql as $$ begin raise exception 'planted'; end $$;
    create operator public.* (leftarg = float8, rightarg = integer, function = public.times);
    create function public.joined(text, integer) returns text language plpgsql as $$ begin raise exception 'planted'; end $$;
    create operator public.|| (leftarg = text, rightarg = integer, function = public.joined);
  `)
    .simple();
};
