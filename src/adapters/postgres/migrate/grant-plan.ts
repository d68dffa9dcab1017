//! The GRANTs and REVOKEs between what is and what should be. Nothing to do gives no statement at all: a migrator that
//! starts again on a healthy database writes nothing.

import { PgstreamError } from "../../../core/errors.ts";
import { quoteName } from "../quote.ts";
import { type Access, type Group, groups } from "./access.ts";

/** What a role has, or may do with what it has. */
export interface Held {
  /** "public" is everybody. */
  readonly role: string;
  /** As REVOKE wants it: `select`, of one column `select (data)`, of the right to pass it on `grant option for select`. */
  readonly privilege: string;
}

/** Something in schema pgstream that privileges are given on, or the schema itself. */
export interface SecuredObject {
  readonly kind: "schema" | "table" | "sequence" | "routine";
  readonly name: string;
  /** As GRANT wants it: qualified, quoted, a function with its arguments. */
  readonly identity: string;
  /** What the groups and everybody have, and the right to give of whoever else gave it. */
  readonly held: readonly Held[];
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

const isSame = (a: Held, b: Held): boolean => a.role === b.role && a.privilege === b.privilege;

const nameOf = ({ role }: Held): string => (role === "public" ? role : quoteName(role));

/** Statements that make what the objects hold exactly what the table says. */
export const planGrants = (
  objects: readonly SecuredObject[],
  access: Readonly<Record<Group, Access>>,
): readonly string[] => {
  refuseUnknownNames(objects, access);
  return objects.flatMap((object) => {
    const { kind, identity, held } = object;
    const wanted = groups.flatMap((role): readonly Held[] => {
      const privilege = wantedVerb(object, access[role]);
      return privilege === null ? [] : [{ role, privilege }];
    });
    const [extra, missing] = [
      held.filter((it) => !wanted.some((other) => isSame(it, other))),
      wanted.filter((it) => !held.some((other) => isSame(it, other))),
    ];
    return [
      // With what was passed on: else it is an error.
      ...extra.map((it) => `revoke ${it.privilege} on ${kind} ${identity} from ${nameOf(it)} cascade`),
      ...missing.map((it) => `grant ${it.privilege} on ${kind} ${identity} to ${nameOf(it)}`),
    ];
  });
};
