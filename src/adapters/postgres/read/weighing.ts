//! Keeps data and headers of a page within its bytes. To weigh row after row costs the server as much as half of the reading. As
//! long as each event is smaller than its share of the page there is nothing to weigh; a page then ends in front of the first
//! event that is larger, and the pages behind it are weighed, until there have been none but small ones for a while.

import type { EventRow } from "../../../core/event.ts";
import type { Page } from "../../../core/log.ts";
import { type Fragment, raw, sql } from "../statement.ts";

export interface PageLimits {
  readonly eventsMax: number;
  readonly bytesMax: number;
}

export interface Weighing {
  /** Whether the row `page`, of rows in the order of their ids, is in front of the cut. */
  readonly fits: (limits: PageLimits) => Fragment;
  /** Whether each row is weighed: as long as it is the same, so is what `fits` answers. */
  readonly isNeeded: () => boolean;
  /** Takes in what came: it decides how the next page is cut. */
  readonly learn: (page: Page, limits: PageLimits) => void;
}

/** So many small ones in a row, and they are not weighed any more. */
const smallOnesMin = 10_000;

const shareOf = ({ eventsMax, bytesMax }: PageLimits): number => Math.floor(bytesMax / eventsMax);

/** Only what is compressed has to be unpacked to be weighed. */
const weight = (name: "data" | "headers") => {
  const column = raw(`page.${name}`);
  return sql`case when pg_catalog.pg_column_compression(${column}) is null then coalesce(pg_catalog.pg_column_size(${column}), 0)
    else pg_catalog.octet_length(${column}::text) end`;
};

const weighed = ({ bytesMax }: PageLimits) => sql`
  coalesce(pg_catalog.sum(${weight("data")} + ${weight("headers")})
    over (order by page.id rows between unbounded preceding and 1 preceding), 0) < ${bytesMax}`;

const small = (limits: PageLimits) => sql`
  pg_catalog.pg_column_size(page.data) + coalesce(pg_catalog.pg_column_size(page.headers), 0) <= ${shareOf(limits)}
  and pg_catalog.pg_column_compression(page.data) is null and pg_catalog.pg_column_compression(page.headers) is null`;

const sizeOf = ({ data, headers }: EventRow): number =>
  Buffer.byteLength(data) + (headers === null ? 0 : Buffer.byteLength(headers));

export const makeWeighing = (): Weighing => {
  let smallOnes = smallOnesMin;
  const isNeeded = (): boolean => smallOnes < smallOnesMin;
  return {
    isNeeded,
    fits: (limits) => (isNeeded() ? weighed(limits) : small(limits)),
    learn: ({ rows, more }, limits) => {
      if (!isNeeded()) {
        if (more && rows.length < limits.eventsMax) smallOnes = 0;
        return;
      }
      const share = shareOf(limits);
      const lastLarge = rows.findLastIndex((row) => sizeOf(row) > share);
      smallOnes = lastLarge === -1 ? smallOnes + rows.length : rows.length - 1 - lastLarge;
    },
  };
};
