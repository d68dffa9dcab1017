//! Where a consumer keeps its documents, receipts, cursor and lease: the scheme chooses the store.

import type { Parsed, Parser } from "./parser.ts";

export type StoreUrl =
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "mongodb"; readonly url: string };

const mongo = /^mongodb(?:\+srv)?:\/\/(?:[^@/?#\s]*@)?[^@/?#\s]+\/(?<database>[^/?#\s]*)(?:\?[^#\s]*)?$/;

const parse = (text: string): Parsed<StoreUrl> => {
  if (text.startsWith("sqlite:")) {
    // `sqlite:./file`, `sqlite:/file` and the form with an empty host, `sqlite:///file`.
    const path = text.slice("sqlite:".length).replace(/^\/\/(?=\/)/, "");
    return path === "" || path.startsWith("//")
      ? { problem: "names no file: write sqlite:./file.sqlite or sqlite:/path/to/file.sqlite" }
      : { value: { kind: "sqlite", path } };
  }
  const database = mongo.exec(text)?.groups?.["database"];
  if (database === undefined) {
    return {
      problem:
        "is not a store: write sqlite:./file.sqlite or mongodb://user:password@host:27017/database, special characters percent-encoded",
    };
  }
  return database === ""
    ? { problem: "names no database: write mongodb://host:27017/database" }
    : { value: { kind: "mongodb", url: text } };
};

export const storeUrl: Parser<StoreUrl> = { unit: "url", parse };
