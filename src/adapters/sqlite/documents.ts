//! Documents as JSON text. A document never goes back to the version of an older event.

import type { Database } from "bun:sqlite";

import type { Json } from "../../core/event.ts";
import { checkCollection } from "../../core/subscribe/own-collections.ts";
import type { DocumentPage, DocumentWrite } from "../../core/subscribe/store.ts";

type Document = Readonly<Record<string, Json>>;

interface Row {
  readonly id: string;
  readonly document: string;
}

const parse = ({ document }: Row): Document => JSON.parse(document) as Document;

export const makeDocuments = (database: Database) => {
  const put = database.query<never, [string, string, bigint, string]>(`
    insert into documents (collection, id, event_id, document) values (?1, ?2, ?3, ?4)
    on conflict (collection, id) do update set event_id = excluded.event_id, document = excluded.document
      where event_id < excluded.event_id`);
  const one = database.query<Row, [string, string]>(
    "select id, document from documents where collection = ?1 and id = ?2",
  );
  const first = database.query<Row, [string, number]>(
    "select id, document from documents where collection = ?1 order by id limit ?2",
  );
  const following = database.query<Row, [string, number, string]>(
    "select id, document from documents where collection = ?1 and id > ?3 order by id limit ?2",
  );

  return {
    write: ({ collection, id, eventId, document }: DocumentWrite): void => {
      checkCollection(collection);
      put.run(collection, id, eventId, JSON.stringify(document));
    },
    document: (collection: string, id: string): Document | null => {
      checkCollection(collection);
      const row = one.get(collection, id);
      return row === null ? null : parse(row);
    },
    page: (collection: string, after: string | null, limit: number): DocumentPage => {
      checkCollection(collection);
      // One more than asked for tells whether there is a next page.
      const rows =
        after === null ? first.all(collection, limit + 1) : following.all(collection, limit + 1, after);
      const shown = rows.slice(0, limit);
      return { documents: shown.map(parse), next: rows.length > limit ? (shown.at(-1)?.id ?? null) : null };
    },
  };
};
