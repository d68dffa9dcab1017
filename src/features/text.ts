//! The kinds of text that the example's events hold.

import { z } from "zod";

/** Names a document: any text that can stand in a URL and a log. */
export const documentId = z
  .string()
  .min(1)
  .max(200)
  // oxlint-disable-next-line no-control-regex
  .regex(/^[^\u0000-\u001f\u007f]*$/, "must not contain control characters");

export const label = z.string().max(10_000);

/** ISO 8601; with a zone or, as older producers write it, without. */
export const timestamp = z.iso.datetime({ offset: true, local: true });
