//! The tables of a SQLite store. `receivedEvents` bears the name its users know from the MongoDB store.

export const schema = `
  create table if not exists subscriptions (
    name text primary key,
    cursor text,
    token integer not null default 0,
    leased_until real not null default 0
  ) strict;

  create table if not exists receivedEvents (
    event_id integer primary key,
    topic text not null,
    type text,
    received_at real not null default (unixepoch('subsec'))
  ) strict;
  create index if not exists receivedEvents_received_at on receivedEvents (received_at);

  create table if not exists documents (
    collection text not null,
    id text not null,
    event_id integer not null,
    document text not null,
    primary key (collection, id)
  ) strict, without rowid;
`;
