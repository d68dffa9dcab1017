//! The GRANTs and REVOKEs between what is and what should be. Nothing to do gives no statement at all: a migrator that
//! starts again on a healthy database writes nothing.

import { PgstreamError } from "../../../core/errors.ts";
import { quoteName } from "../quote.ts";
import { type Access, type Group, groups } from "./access.ts";

/** Something in schema pgstream that privileges are given on, or the schema itself. */
export interface SecuredObject {
  readonly kind: "schema" | "table" | "sequence" | "routine";
  readonly name: string;
  /** As GRANT wants it: qualified, quoted, a function with its arguments. */
  readonly identity: string;
  /** What the groups and everybody (role "public") have, as `role verb`, in lower case. */
  readonly held: readonly string[];
}

const wantedVerb = ({ kind, name }: SecuredObject, { select, execute }: Access): string | null => {
  switch (kind) {
    case "schema":
      return "usage";
    case "routine":
      return execute.includes(name) ? "execute" : null;
    case "table":
    case "sequence":
      return select.includes(name) ? "select" : null;
  }
};

/** @throws PgstreamError `internal` when the table names what is not there: it and the migrations disagree */
const refuseUnknownNames = (
  objects: readonly SecuredObject[],
  access: Readonly<Record<Group, Access>>,
): void => {
  const names = (isRoutine: boolean): ReadonlySet<string> =>
    new Set(objects.filter(({ kind }) => (kind === "routine") === isRoutine).map(({ name }) => name));
  const [relations, routines] = [names(false), names(true)];
  for (const { select, execute } of Object.values(access)) {
    const missing = [
      ...select.filter((it) => !relations.has(it)),
      ...execute.filter((it) => !routines.has(it)),
    ];
    if (missing.length === 0) continue;
    throw new PgstreamError(
      "internal",
      `there is nothing to grant on by the name of ${missing.join(", ")} in pgstream`,
    );
  }
};

const statement = (verb: "grant" | "revoke", held: string, { kind, identity }: SecuredObject): string => {
  const [role = "", privilege = ""] = held.split(" ");
  const name = role === "public" ? role : quoteName(role);
  return `${verb} ${privilege} on ${kind} ${identity} ${verb === "grant" ? "to" : "from"} ${name}`;
};

/** Statements that make what the objects hold exactly what the table says. */
export const planGrants = (
  objects: readonly SecuredObject[],
  access: Readonly<Record<Group, Access>>,
): readonly string[] => {
  refuseUnknownNames(objects, access);
  return objects.flatMap((object) => {
    const wanted = groups.flatMap((group) => {
      const verb = wantedVerb(object, access[group]);
      return verb === null ? [] : [`${group} ${verb}`];
    });
    return [
      ...object.held.filter((it) => !wanted.includes(it)).map((it) => statement("revoke", it, object)),
      ...wanted.filter((it) => !object.held.includes(it)).map((it) => statement("grant", it, object)),
    ];
  });
};
