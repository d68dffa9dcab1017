//! Where a subscriber keeps its cursor, as the README advises: in a table of the application, here in the same database. Each
//! save is a commit of its own, as durable as any.

import postgres from "postgres";

export interface CursorTable extends AsyncDisposable {
  readonly load: () => Promise<string | null>;
  readonly save: (cursor: string) => Promise<void>;
}

/** One row of the table, over a connection of its own that is open before a clock starts. */
export const openCursor = async (url: string, name: string): Promise<CursorTable> => {
  const sql = postgres(url, { max: 1, fetch_types: false, max_lifetime: null, onnotice: () => {} });
  await sql`create table if not exists cursors (name text primary key, cursor text) with (fillfactor = 50)`;
  await sql`insert into cursors (name) values (${name}) on conflict (name) do update set cursor = null`;
  return {
    load: async () => {
      const [row] = await sql<{ cursor: string | null }[]>`select cursor from cursors where name = ${name}`;
      return row?.cursor ?? null;
    },
    save: async (cursor) => {
      await sql`update cursors set cursor = ${cursor} where name = ${name}`;
    },
    [Symbol.asyncDispose]: async () => await sql.end({ timeout: 1 }),
  };
};
