//! Events as they travel: few columns, since each costs the driver as much as a short text of its own. What is not data
//! comes as one text, its values joined by what none of them can hold.

import type { EventRow } from "../../../core/event.ts";
import type { Page } from "../../../core/log.ts";
import { orNull, separator } from "../joined-text.ts";
import { makeMomentReader } from "../moment.ts";
import { sql } from "../statement.ts";
import type { PageLimits, Weighing } from "./weighing.ts";

export interface EventColumns {
  readonly id: bigint;
  /** Topic, time, key, type and headers. */
  readonly about: string;
  /** Null: the page was cut in front of it. */
  readonly data: string | null;
}

/**
 * Of a row `page` of pgstream.events. In the text, what may be missing is empty; headers, last of all, may be missing altogether.
 * Behind the cut there is neither data nor headers.
 */
export const eventColumns = (weighing: Weighing, limits: PageLimits) => sql`
  page.id,
  pg_catalog.concat_ws(pg_catalog.chr(30), page.topic_id, page.created_at, coalesce(page.key, ''), coalesce(page.type, ''),
    case when page.headers is null then null when ${weighing.fits(limits)} then page.headers end) as about,
  case when ${weighing.fits(limits)} then page.data end as data`;

const momentOf = makeMomentReader();

const rowOf = (id: bigint, about: string, data: string): EventRow => {
  const values = about.split(separator);
  return {
    id,
    topicId: Number(values[0]),
    createdAt: momentOf(values[1] ?? ""),
    key: orNull(values[2]),
    type: orNull(values[3]),
    headers: values[4] ?? null,
    data,
  };
};

export const pageOf = (columns: readonly EventColumns[], eventsMax: number): Page => {
  const rows: EventRow[] = [];
  for (const { id, about, data } of columns) {
    if (data === null) return { rows, more: true };
    rows.push(rowOf(id, about, data));
  }
  return { rows, more: columns.length === eventsMax };
};
