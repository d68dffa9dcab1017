//! The read side of the example application: documents by page and by id, e.g. `GET /courses` and `GET /courses/:id`.
//!
//! Everything that comes in is text and stays text: a store is never handed an object that a client composed.

import { Elysia } from "elysia";

import type { ConsumerStore } from "../core/subscribe/store.ts";
import { json } from "./json.ts";

export interface DocumentRoutesOptions {
  readonly store: Pick<ConsumerStore, "document" | "documents">;
  /** The collection, and the path it is served under. */
  readonly collection: string;
}

const limitMax = 1_000;
const limitDefault = 100;
const idLengthMax = 1_024;

/** Undefined when given twice: it is then ambiguous. */
const parameterOf = (request: Request, name: string): string | null | undefined => {
  const [value = null, second] = new URL(request.url).searchParams.getAll(name);
  return second === undefined ? value : undefined;
};

/** Null when it is no page size. */
const parseLimit = (text: string | null | undefined): number | null => {
  if (text === null) return limitDefault;
  const limit = /^[1-9]\d{0,3}$/.test(text ?? "") ? Number(text) : 0;
  return limit >= 1 && limit <= limitMax ? limit : null;
};

const problem = (status: number, code: string, message: string): Response => json({ code, message }, status);

const notFound = (collection: string): Response =>
  problem(404, "not_found", `no document of ${collection} has this id`);

/**
 * `GET /{collection}?after=&limit=` answers `{items, next}`, ordered by id; `next`, when not null, is the `after` of the
 * next page. `limit` is 1 to 1,000, by default 100. `GET /{collection}/:id` answers one document.
 */
export const documentRoutes = ({ store, collection }: DocumentRoutesOptions) =>
  new Elysia({ name: "documents", seed: collection })
    .get(`/${collection}`, async ({ request }) => {
      const limit = parseLimit(parameterOf(request, "limit"));
      const after = parameterOf(request, "after");
      if (limit === null) {
        return problem(400, "invalid_request", `limit must be one whole number from 1 to ${limitMax}`);
      }
      if (after === undefined || (after?.length ?? 0) > idLengthMax) {
        return problem(400, "invalid_request", `after must be one id, at most ${idLengthMax} characters`);
      }
      const { documents, next } = await store.documents(collection, after, limit);
      return json({ items: documents, next });
    })
    .get(`/${collection}/:id`, async ({ params: { id } }) => {
      // Null where the path is not percent-encoded text.
      if (((id as string | null)?.length ?? Infinity) > idLengthMax) return notFound(collection);
      const document = await store.document(collection, id);
      return document === null ? notFound(collection) : json(document);
    });
