//! Keeps the data of a page within its bytes. To weigh row after row costs the server as much as half of the reading. As
//! long as each event is smaller than its share of the page there is nothing to weigh; a page then ends in front of the first
//! event that is larger, and the pages behind it are weighed, until there have been none but small ones for a while.

import type { Page } from "../../core/log.ts";
import type { Fragment, Sql } from "./client.ts";

export interface PageLimits {
  readonly eventsMax: number;
  readonly bytesMax: number;
}

export interface Weighing {
  /** The column `data` of the rows `page`, in the order of their ids: null behind the cut. */
  readonly dataColumn: (sql: Sql, limits: PageLimits) => Fragment;
  /** Takes in what came: it decides how the next page is cut. */
  readonly learn: (page: Page, limits: PageLimits) => void;
}

/** So many small ones in a row, and they are not weighed any more. */
const smallOnesMin = 10_000;

const shareOf = ({ eventsMax, bytesMax }: PageLimits): number => Math.floor(bytesMax / eventsMax);

/** Only what is compressed has to be unpacked to be weighed. */
const weighed = (sql: Sql, { bytesMax }: PageLimits) => sql`
  case when coalesce(
    sum(case when pg_column_compression(page.data) is null then pg_column_size(page.data)
        else octet_length(page.data::text) end)
      over (order by page.id rows between unbounded preceding and 1 preceding), 0) < ${bytesMax}
    then page.data end as data`;

const small = (sql: Sql, limits: PageLimits) => sql`
  case when pg_column_size(page.data) <= ${shareOf(limits)} and pg_column_compression(page.data) is null
    then page.data end as data`;

export const makeWeighing = (): Weighing => {
  let smallOnes = smallOnesMin;
  const isNeeded = (): boolean => smallOnes < smallOnesMin;
  return {
    dataColumn: (sql, limits) => (isNeeded() ? weighed(sql, limits) : small(sql, limits)),
    learn: ({ rows, more }, limits) => {
      if (!isNeeded()) {
        if (more && rows.length < limits.eventsMax) smallOnes = 0;
        return;
      }
      const share = shareOf(limits);
      const lastLarge = rows.findLastIndex(({ data }) => data.length > share);
      smallOnes = lastLarge === -1 ? smallOnes + rows.length : rows.length - 1 - lastLarge;
    },
  };
};
