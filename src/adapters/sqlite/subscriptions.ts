//! Cursor and lease of a subscription, in one row. Time is SQLite's own clock; the token only ever grows.

import type { Database } from "bun:sqlite";

import type { Lease } from "../../core/subscribe/store.ts";

interface TokenRow {
  readonly token: bigint;
}

export const makeSubscriptions = (database: Database) => {
  const take = database.query<TokenRow, [string, number]>(`
    insert into subscriptions (name, token, leased_until) values (?1, 1, unixepoch('subsec') + ?2)
    on conflict (name) do update set token = token + 1, leased_until = excluded.leased_until
      where leased_until <= unixepoch('subsec')
    returning token`);
  const prolong = database.query<TokenRow, [string, bigint, number]>(`
    update subscriptions set leased_until = unixepoch('subsec') + ?3 where name = ?1 and token = ?2
    returning token`);
  // The token moves on too, so that a commit still under way when the lease is given up finds it lost.
  const release = database.query<never, [string, bigint]>(`
    update subscriptions set token = token + 1, leased_until = 0 where name = ?1 and token = ?2`);
  const cursor = database.query<{ readonly cursor: string | null }, [string]>(
    "select cursor from subscriptions where name = ?1",
  );
  const move = database.query<TokenRow, [string, bigint, string]>(`
    update subscriptions set cursor = ?3 where name = ?1 and token = ?2
    returning token`);

  return {
    acquire: (subscription: string, held: Lease | null, ttlMs: number): Lease | null => {
      const seconds = ttlMs / 1_000;
      const row =
        held === null ? take.get(subscription, seconds) : prolong.get(subscription, held.token, seconds);
      return row === null ? null : { subscription, token: row.token };
    },
    release: ({ subscription, token }: Lease): void => {
      release.run(subscription, token);
    },
    cursor: (subscription: string): string | null => cursor.get(subscription)?.cursor ?? null,
    /** Whether the lease still stood. */
    moveCursor: ({ subscription, token }: Lease, to: string): boolean =>
      move.get(subscription, token, to) !== null,
  };
};
