//! What the server at the other end can do, and what time it has.

import type { Db, Document } from "mongodb";

import type { Logger } from "../../core/ports.ts";

export interface Abilities {
  /** Several documents change together: on a replica set or a sharded cluster. */
  readonly hasTransactions: boolean;
  /** The most updates in one command. */
  readonly updatesMax: number;
}

// FerretDB 1.24 never answers more than 100 updates in one command, and has no transactions; it says who it is in buildInfo.
const updatesMaxOfFerret = 64;
const updatesMax = 1_000;

const isFerret = (build: Document): boolean => Object.keys(build).some((it) => it.startsWith("ferretdb"));
const isCluster = (hello: Document): boolean =>
  typeof hello["setName"] === "string" || hello["msg"] === "isdbgrid";

const detect = async (database: Db, logger: Logger): Promise<Abilities> => {
  const [hello, build] = await Promise.all([
    database.command({ hello: 1 }),
    database.command({ buildInfo: 1 }),
  ]);
  const ferret = isFerret(build);
  const abilities = {
    hasTransactions: isCluster(hello) && !ferret,
    updatesMax: ferret ? updatesMaxOfFerret : updatesMax,
  };
  if (!abilities.hasTransactions) {
    logger.warn(
      { ferret, updatesMax: abilities.updatesMax },
      "this MongoDB has no transactions: a batch is written as effects, then receipts, then cursor, each safe to repeat",
    );
  }
  return abilities;
};

export const makeServer = (database: Db, logger: Logger) => {
  let known: Promise<Abilities> | null = null;
  return {
    /** Asked once; again only after a failure. */
    abilities: async (): Promise<Abilities> => {
      known ??= detect(database, logger);
      try {
        return await known;
      } catch (error) {
        known = null;
        throw error;
      }
    },
    /**
     * By the primary's clock. It is read before it is used, so it is late, never early: a lease that has run out by it has
     * run out. (`$$NOW` inside an update would say the same with one round trip less, but not every server has it.)
     */
    now: async (): Promise<Date> => {
      const { localTime } = await database.command({ hello: 1 });
      return localTime as Date;
    },
  };
};

export type Server = ReturnType<typeof makeServer>;
